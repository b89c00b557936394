package inside

import "bytes"

// runs reports whether the words of a command line, with zeros between them, are
// of a node, not of a verb that asks one.
func runs(cmdline []byte) bool {
	words := bytes.Split(cmdline, []byte{0})
	return len(words) > 1 && string(words[1]) == "run"
}
