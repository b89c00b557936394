package main

import (
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	const pass = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"quiet please\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"pass","Package":"p","Elapsed":0.2}
`
	for name, c := range map[string]struct {
		events string
		err    string
		want   string // in what is written
	}{
		"passes":  {pass, "", "tests: 1 passed, 0 failed, 0 skipped"},
		"nothing": {"", "no test ran", "tests: 0 passed"},
		"fails": {pass + `{"Action":"output","Package":"q","Test":"TestB","Output":"q_test.go:7: wrong\n"}
{"Action":"fail","Package":"q","Test":"TestB","Elapsed":1}
`, "tests failed", "q_test.go:7: wrong"},
		"does not build": {pass + `{"ImportPath":"q [q.test]","Action":"build-output","Output":"q.go:1: no\n"}
{"ImportPath":"q [q.test]","Action":"build-fail"}
`, "tests failed", "q.go:1: no"},
		"does not start": {pass + "go: no such package\n", "tests failed", "no such package"},
		"skips short": {pass + `{"Action":"output","Package":"q","Test":"TestB","Output":"q_test.go:7: short mode\n"}
{"Action":"skip","Package":"q","Test":"TestB"}
`, "", "1 passed, 0 failed, 1 skipped"},
		"skips for want of root": {pass + `{"Action":"output","Package":"q","Test":"TestB","Output":"q_test.go:7: needs root\n"}
{"Action":"skip","Package":"q","Test":"TestB"}
`, "this machine is to run", "q_test.go:7: needs root"},
	} {
		var out strings.Builder
		err := tally(strings.NewReader(c.events), &out)
		if got := errText(err); !strings.Contains(got, c.err) || (c.err == "") != (got == "") {
			t.Errorf("%s: error %q, want %q", name, got, c.err)
		}
		if !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: wrote\n%s\nwant %q in it", name, out.String(), c.want)
		}
		if strings.Contains(out.String(), "quiet please") {
			t.Errorf("%s: wrote what a passing test wrote:\n%s", name, out.String())
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
