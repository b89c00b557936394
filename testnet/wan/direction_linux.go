package wan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	packetSize = 2048 // a device's MTU is 1500
	batch      = 64   // packets read before those that are due go out

	// tick is how long a thread that was woken less than that ago rests before it
	// looks again. A wake costs as much as half a packet, and at 100 Mbit/s there
	// would be two for each packet, one when it comes and one when it is due. So
	// on a busy link a packet may be noticed, and leave, so much late; the times
	// that the model gives it don't shift, nor does the rate. On a link that is
	// idle but for a packet each millisecond nothing waits.
	tick = 250 * time.Microsecond
)

// direction is one thread in one loop: wait for the device or for the next
// packet's time, take in what came, write what is due. There are no hand-offs, so
// a packet costs three or four system calls. It waits in ppoll, to the
// nanosecond and with a timer slack of 1 us: the Go runtime's timers are good to
// about a millisecond.
type direction struct {
	in, out int // TUN devices
	wake    int // an eventfd: settings changed, or stopping
	begin   time.Time
	classes []Class

	mu       sync.Mutex
	stopping bool
	link     *Link
	buffers  [][]byte // by Packet.ID, as long as the packet
	spare    []int    // IDs that are free
	missed   int64
	refused  int64
	latest   time.Duration
	late     int64
}

func newDirection(in, out int, link *Link, classes []Class) (*direction, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	return &direction{in: in, out: out, wake: wake, begin: time.Now(), classes: classes, link: link}, nil
}

func (d *direction) now() time.Duration { return time.Since(d.begin) }

func (d *direction) run() error {
	leave, err := hurry()
	if err != nil {
		return err
	}
	defer leave()
	fds := []unix.PollFd{{Fd: int32(d.in), Events: unix.POLLIN}, {Fd: int32(d.wake), Events: unix.POLLIN}}
	woke := -tick
	var t unix.Timespec // here, or each wait allocates one
	for {
		next, ok, stopping := d.deliver()
		if stopping {
			return nil
		}
		now := d.now()
		if rest := woke + tick - now; rest > 0 {
			t = unix.NsecToTimespec(int64(rest))
			_, _ = unix.Ppoll(nil, &t, nil) // a signal ends it early, which does no harm
			now = d.now()
		}
		woke = now
		if ok && next <= now {
			// There is no need to wait, nor to ask what the device has.
			if err := d.take(); err != nil {
				return err
			}
			continue
		}
		var wait *unix.Timespec
		if ok {
			t = unix.NsecToTimespec(int64(max(next-now, 0)))
			wait = &t
		}
		if _, err := unix.Ppoll(fds, wait, nil); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return fmt.Errorf("wait for packets: %w", err)
		}
		if fds[1].Revents != 0 {
			var n [8]byte
			_, _ = unix.Read(d.wake, n[:]) // back to 0
		}
		if fds[0].Revents != 0 {
			if err := d.take(); err != nil {
				return err
			}
		}
	}
}

// hurry locks the goroutine to a thread that wakes in time. Leave makes the
// thread what it was: it must not end, see enter.
func hurry() (leave func(), err error) {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("ask for precise timers: %w", err)
	}
	// The nodes under test may keep every core busy: before them all. A container
	// without SYS_NICE doesn't have this, and counts what comes of it.
	_ = firstInLine(0)
	return func() {
		// 0 is the default slack.
		if errors.Join(unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0), backInLine()) == nil {
			runtime.UnlockOSThread() // else it ends with the goroutine
		}
	}, nil
}

// take offers the link what the device has, up to a batch.
func (d *direction) take() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var none [packetSize]byte
	for range batch {
		id, room := d.slot()
		buf := none[:]
		if room {
			buf = d.buffers[id][:packetSize]
		}
		n, err := unix.Read(d.in, buf)
		if err != nil {
			if room {
				d.spare = append(d.spare, id)
			}
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				return nil
			}
			return fmt.Errorf("read a packet; is the device gone? %w", err)
		}
		if !room {
			d.missed++
			continue
		}
		d.buffers[id] = buf[:n]
		if !d.link.Offer(d.now(), Packet{ID: id, Size: n, Class: classify(d.classes, buf[:n])}) {
			d.spare = append(d.spare, id)
		}
	}
	return nil
}

// slot returns the ID of a buffer that is free.
func (d *direction) slot() (id int, ok bool) {
	if n := len(d.spare); n > 0 {
		id = d.spare[n-1]
		d.spare = d.spare[:n-1]
		return id, true
	}
	if len(d.buffers) == maxUnderWay {
		return 0, false
	}
	d.buffers = append(d.buffers, make([]byte, packetSize))
	return len(d.buffers) - 1, true
}

// deliver writes what is due, and returns when there is more.
func (d *direction) deliver() (next time.Duration, ok, stopping bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		now := d.now()
		p, at, fate, ok := d.link.Take(now)
		if !ok {
			break
		}
		if fate == Delivered {
			if _, err := unix.Write(d.out, d.buffers[p.ID]); err != nil {
				d.refused++ // the device is down, say
			}
			// A change of settings can put a time into the past by no more than
			// what the thread took to notice.
			behind := now - at
			d.latest = max(d.latest, behind)
			if behind > late {
				d.late++
			}
		}
		d.spare = append(d.spare, p.ID)
	}
	next, ok = d.link.Next()
	return next, ok, d.stopping
}

func (d *direction) kick() {
	// It can't fail but for a counter that is full, and then the thread wakes.
	_, _ = unix.Write(d.wake, binary.NativeEndian.AppendUint64(nil, 1))
}

func (d *direction) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopping = true
	d.kick()
}

func (d *direction) set(s Settings) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.kick()
	return d.link.Set(d.now(), s)
}

func (d *direction) settings() Settings {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.link.Settings()
}

func (d *direction) counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := Counts{Missed: d.missed, Refused: d.refused, Latest: d.latest, Late: d.late}
	for i, count := range d.link.Counts() {
		name := Other
		if i < len(d.classes) {
			name = d.classes[i].Name
		}
		c.Classes = append(c.Classes, ClassCount{name, count})
	}
	return c
}
