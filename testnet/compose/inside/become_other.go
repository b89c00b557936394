//go:build !unix

package inside

func become([]string) error { return errContainers }
