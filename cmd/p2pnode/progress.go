package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/p2pnode/p2pnode/node/api"
)

// lineEvery is how often --progress=line writes, unless
// P2PNODE_PROGRESS_INTERVAL says otherwise.
const lineEvery = 10 * time.Second

// A meter shows how far a long command is: on a terminal as one line that is
// written over and goes away; in a file, if asked for, as a line from time to
// time. It never touches stdout, except with --json, where status lines are part
// of the answer.
type meter struct {
	w     io.Writer
	mode  string // live, line, json, none
	every time.Duration
	width func() int
	stop  func()

	mu    sync.Mutex
	text  string // newest
	shown int    // columns on the terminal now
	last  time.Time
}

// meter returns the meter that the flags ask for; close it before the answer.
func (a *app) meter(quiet bool) (*meter, error) {
	m := &meter{w: a.err, mode: a.progress, every: lineEvery, stop: func() {}}
	if text, ok := a.env("P2PNODE_PROGRESS_INTERVAL"); ok {
		if err := (timeFlag{&m.every}).Set(text); err != nil {
			return nil, usageError{fmt.Errorf("P2PNODE_PROGRESS_INTERVAL: %w", err)}
		}
	}
	if m.mode == "auto" {
		m.mode = "none"
		f, ok := terminal(a.err)
		switch {
		case quiet:
		case a.json:
			m.mode, m.w = "json", a.out
		case ok:
			m.mode = "live"
			m.width = func() int {
				w, _, err := term.GetSize(int(f.Fd()))
				if err != nil || w <= 0 { // serial consoles don't know
					return 80
				}
				return w
			}
		}
	}
	if signals := askSignals(); len(signals) > 0 {
		m.answer(signals, a.err)
	}
	return m, nil
}

// answer writes the newest line whenever a signal asks for it, also where no
// progress is shown.
func (m *meter) answer(signals []os.Signal, to io.Writer) {
	asked, done, ended := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(asked, signals...)
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-asked:
				m.mu.Lock()
				m.erase()
				fmt.Fprintln(to, m.text)
				m.mu.Unlock()
			}
		}
	}()
	m.stop = func() { signal.Stop(asked); close(done); <-ended }
}

// show takes the newest state: as text, and as the value it was made of.
func (m *meter) show(text string, v any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text = text
	switch m.mode {
	case "json":
		if b, err := api.MarshalLine(api.StatusLine, v); err == nil {
			_, _ = m.w.Write(b) // progress is no part of what must arrive
		}
	case "line":
		if now := time.Now(); now.Sub(m.last) >= m.every {
			m.last = now
			fmt.Fprintln(m.w, text)
		}
	case "live":
		m.draw(text)
	}
}

// say writes lines that stay.
func (m *meter) say(to io.Writer, lines string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
	fmt.Fprintln(to, lines)
}

// draw writes text over the line that is there. Blanks do what escape sequences
// would, and do it on every console.
func (m *meter) draw(text string) {
	runes := []rune(text)
	if width := m.width() - 1; len(runes) > width {
		runes = runes[:max(width, 0)]
	}
	pad := max(m.shown-len(runes), 0)
	fmt.Fprint(m.w, "\r", string(runes), strings.Repeat(" ", pad), strings.Repeat("\b", pad))
	m.shown = len(runes)
}

// erase clears the line on the terminal. Callers hold mu.
func (m *meter) erase() {
	if m.shown > 0 {
		fmt.Fprint(m.w, "\r", strings.Repeat(" ", m.shown), "\r")
		m.shown = 0
	}
}

// Close ends the meter and erases its line.
func (m *meter) Close() {
	m.stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
}
