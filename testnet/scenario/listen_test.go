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
// listens once and tells the caller its address, or ("dial ADDRESS") the caller.
const listenEnv = "P2PNODE_SCENARIO_LISTEN"

func listenOnce(what string) int {
	addr, dials := strings.CutPrefix(what, "dial ")
	err := tellOnce(addr)
	if dials {
		err = beTold(addr)
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
