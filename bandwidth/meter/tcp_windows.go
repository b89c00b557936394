package meter

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// sioTCPInfo is SIO_TCP_INFO of mstcpip.h: _WSAIORW(IOC_VENDOR, 39).
const sioTCPInfo = windows.IOC_INOUT | windows.IOC_VENDOR | 39

// TCP reads SIO_TCP_INFO of a connection, which has no rate of delivery.
func TCP(c syscall.Conn) (Connection, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Connection{}, fmt.Errorf("read SIO_TCP_INFO: %w", err)
	}
	var version, n uint32
	var b [tcpInfoV0]byte
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = windows.WSAIoctl(windows.Handle(fd), sioTCPInfo, (*byte)(unsafe.Pointer(&version)), uint32(unsafe.Sizeof(version)),
			&b[0], uint32(len(b)), &n, nil, 0)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return Connection{}, fmt.Errorf("read SIO_TCP_INFO: %w", err)
	}
	return parseTCPInfoV0(b[:min(int(n), len(b))])
}
