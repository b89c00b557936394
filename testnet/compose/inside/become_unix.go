//go:build unix

package inside

import (
	"fmt"
	"os"
	"syscall"
)

// become makes this process another program.
func become(argv []string) error {
	if err := syscall.Exec(argv[0], argv, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	return nil
}
