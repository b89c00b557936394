package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"p2pnode": func() { os.Exit(Main()) }})
}

// The scripts in testdata are the story of the command line as its users live
// it. With UPDATE=1 they take over what the program says now.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("P2PNODE_DATA", env.WorkDir+"/data")
			env.Setenv("P2PNODE_CONFIG", "none") // not the one of the machine that tests
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit":      cmdExit,
			"fakenode":  cmdFakeNode,
			"interrupt": cmdInterrupt,
			"setfile":   cmdSetFile,
		},
	})
}

// exit CODE COMMAND... runs a command that must end with CODE.
func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var e *exec.ExitError
	switch {
	case errors.As(err, &e):
		got = e.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// interrupt CODE COMMAND... runs a command, sends it SIGINT once it has written a
// line, and checks what it ends with.
func cmdInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: interrupt CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "P2PNODE_DATA="+ts.Getenv("P2PNODE_DATA"))
	cmd.Stderr = ts.Stderr()
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	lines := bufio.NewScanner(out)
	lines.Scan()
	ts.Check(cmd.Process.Signal(os.Interrupt))
	for lines.Scan() {
		fmt.Fprintln(ts.Stdout(), lines.Text())
	}
	_ = cmd.Wait() // the exit code says it
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("%v, want exit code %d", cmd.ProcessState, want)
	}
}

// setfile VARIABLE FILE sets an environment variable to a file's first line.
func cmdSetFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: setfile VARIABLE FILE")
	}
	text := ts.ReadFile(args[1])
	for i, c := range text {
		if c == '\n' {
			text = text[:i]
			break
		}
	}
	ts.Setenv(args[0], text)
}
