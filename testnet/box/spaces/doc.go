// Package spaces is the enterprise in a box made of network namespaces: real
// nodes and real links on one Linux machine, with root and without Docker.
//
// Every endpoint is a namespace with one interface, every site a switch, and
// every router a namespace with a leg on the LAN of its site and one on the WAN.
// The link emulators run in this process, one for each router, or with
// Config.Router in processes of their own. A node is a process in its endpoint's
// namespace; its files lie below Config.Dir, and its data folder, if the plan
// gives it a disk of its own, in a tmpfs.
//
// New makes the network, Start the nodes, Close takes all away. What a killed
// process leaves behind of it: its nodes end with it, so do the links; the names
// of the namespaces stay until the next New or Reap, what lies in a TempDir and
// the sockets of its nodes until the next Reap. Mounts go with the mount
// namespace of the whole command, which is why one with disks begins with Alone.
package spaces
