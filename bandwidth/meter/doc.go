// Package meter reads how a link and this host are doing, for those who decide
// how fast we may.
//
// A Port sends small probes over UDP and answers those of its peers. Each pair of
// peers agrees on a Key over a stream that they trust and gives it to Open, which
// returns a Path: Probe sends one, Take hands out what came back since. The pace
// is the caller's, one probe each 10 to 40 ms while a transfer runs and none when
// none does; a path that isn't probed costs nothing. Port.Run reads the socket.
//
//	probe and answer, 32 bytes each, big endian (packet.go)
//	0    4 asks, 5 answers
//	1    session: names the key and who asks
//	7    number of the probe, from 1
//	11   when it arrived, in microseconds of the answerer's clock; 0 in a request
//	17   how long the answerer held it, in microseconds; 0 in a request
//	20   the first 12 bytes of HMAC-SHA256 over all before
//
// When a probe was sent only its sender needs to know, and remembers. A clock
// counts from its port's start and never steps.
//
// # What strangers and members can do with it
//
// An answer is as long as its request and goes only to the address that the path
// was opened for, once for each number, so that nobody gains by a forged sender
// and nothing is told to who doesn't hold the key. Requests and answers of each
// side have keys of their own, so that neither can be turned back as the other. A
// path is answered Config.PathRate times a second and a port Config.Rate times,
// whatever is asked. What fails any check is dropped without an answer and
// counted (Dropped). A member can lie in its answers about its own clock and about
// how long it held a probe, and so about its own path; the hold is in the Sample.
//
// # Interfaces and our own bytes
//
// Toward tells which Interface packets to a peer leave by, a Counter reads how many
// bytes crossed it, and Own counts
// those that our sockets carried, which whoever holds a socket tells its Account.
// Others is the difference: what the rest of this host does on that interface.
//
//	         counts                   kind                          speed
//	Linux    sysfs, or /proc/net/dev  sysfs                         sysfs, wires only
//	Windows  MIB_IF_ROW2              MIB_IF_ROW2                   MIB_IF_ROW2
//	macOS    iflist2                  iflist2, not Wi-Fi from wire  iflist2
//	others   errors.ErrUnsupported    absent                        absent
//
// # Connections
//
// TCP and QUIC tell what the sending end of a connection knows. It is a check on
// the probes, and stands in for them where UDP is blocked.
//
//	         round trip    least  rate    sent and resent     unsent
//	Linux    microseconds  yes    yes     yes, kernel >= 4.19 yes
//	Windows  microseconds  yes    absent  yes                 absent
//	macOS    milliseconds  absent absent  yes                 absent
//	quic-go  nanoseconds   yes    absent  yes                 absent
//
// # The host
//
// Host reads a State every ten seconds or so, for policies about batteries, users
// and metered links.
//
//	         battery               busy       idle                        metered
//	Linux    sysfs power_supply    cpu times  logind                      NetworkManager
//	Windows  GetSystemPowerStatus  cpu times  GetLastInputInfo, absent    absent
//	                                          for a service
//	macOS    pmset                 cpu times  IOHIDSystem                 absent
//	others   absent                cpu times  absent                      absent
//
// What can't be read is absent and never made up: a Reading says whether there is a
// value, and how it was found.
//
// # Costs
//
// One reading each, by go test -bench . on Linux in a virtual machine of 4 cores: a
// Counter 3 us, TCP 1 us, an Account 2 ns, Toward 0.2 ms, a Host's State 35 us without
// a D-Bus; an answer to a probe 0.8 us, and with the kernel and the goroutines that
// wake, both ends together, 73 us. In a process of both ends that wakes every 10 ms
// anyhow, 40 probes a second added 0.8 % of a core and a Counter 0.3 %.
//
// # Left to others
//
// The exchange of keys and the socket (node), what a delay means (the governor),
// and holding anyone to a rate (the pacer).
package meter
