package scenario

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// listenEnv makes the test binary one end of a TCP connection: the one that
// listens once and tells the caller its address, or ("dial ADDRESS") the caller;
// or ("hear") one that prints a line for each packet of multicast DNS.
const listenEnv = "P2PNODE_SCENARIO_LISTEN"

func listenOnce(what string) int {
	var err error
	if addr, dials := strings.CutPrefix(what, "dial "); dials {
		err = beTold(addr)
	} else if what == "hear" {
		err = hear()
	} else {
		err = tellOnce(addr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func tellOnce(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c, host)
	return err
}

// beTold retries: the listener may not be there yet.
func beTold(addr string) error {
	var c net.Conn
	var err error
	for range 100 {
		if c, err = net.DialTimeout("tcp", addr, patience); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(os.Stdout, c)
	return err
}

// hear prints when each packet of multicast DNS came, in milliseconds since 1970,
// until it is ended.
func hear() error {
	ifaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	ended := make(chan error)
	for _, i := range ifaces {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, group := range []string{"224.0.0.251", "ff02::fb"} {
			c, err := net.ListenMulticastUDP("udp", &i, &net.UDPAddr{IP: net.ParseIP(group), Port: 5353})
			if err != nil {
				return err
			}
			go func() {
				defer c.Close()
				b := make([]byte, 9000)
				for {
					if _, err := c.Read(b); err != nil {
						ended <- err
						return
					}
					fmt.Println(time.Now().UnixMilli())
				}
			}()
		}
	}
	fmt.Println(0) // listening
	return <-ended
}
