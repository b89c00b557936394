package origin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRestsGrowAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(1000)
		down := true
		l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
			if down {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			serves(data, "")(w, r)
		}, Config{})
		defer l.close()
		r := Resource{URL: here, Size: 1000}
		want := firstRest
		for range 8 {
			if _, err := l.get(t.Context(), r, 0, 1000); !errors.Is(err, ErrStatus) {
				t.Fatal(err)
			}
			rest := time.Until(l.Resting(here))
			if rest < want*2/3-time.Microsecond || rest > want*4/3+time.Microsecond {
				t.Errorf("rests for %v, want %v and a third", rest, want)
			}
			want = min(2*want, maxRest)
			time.Sleep(rest + time.Nanosecond)
		}
		down = false
		if _, err := l.get(t.Context(), r, 0, 1000); err != nil {
			t.Fatal(err)
		}
		down = true
		if _, err := l.get(t.Context(), r, 0, 1000); !errors.Is(err, ErrStatus) {
			t.Fatal(err)
		}
		if rest := time.Until(l.Resting(here)); rest > time.Minute+time.Microsecond {
			t.Errorf("rests for %v after it was well", rest)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for name, test := range map[string]struct {
		value    func() string
		min, max time.Duration
	}{
		"seconds":       {func() string { return "600" }, 10 * time.Minute, 10 * time.Minute},
		"date":          {func() string { return time.Now().Add(time.Hour).UTC().Format(http.TimeFormat) }, time.Hour, time.Hour},
		"less than 30":  {func() string { return "1" }, 30 * time.Second, time.Minute},
		"a century":     {func() string { return "3153600000" }, 24 * time.Hour, 24 * time.Hour},
		"over":          {func() string { return time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat) }, 30 * time.Second, time.Minute},
		"nonsense":      {func() string { return "soon" }, 30 * time.Second, time.Minute},
		"negative":      {func() string { return "-1" }, 30 * time.Second, time.Minute},
		"over an int64": {func() string { return "99999999999999999999" }, 30 * time.Second, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", test.value())
					w.WriteHeader(http.StatusServiceUnavailable)
				}, Config{})
				defer l.close()
				_, err := l.get(t.Context(), Resource{URL: here, Size: 1000}, 0, 1000)
				if s, ok := errors.AsType[*StatusError](err); !ok || s.Code != 503 {
					t.Fatal(err)
				}
				if rest := time.Until(l.Resting(here)); rest < test.min-time.Microsecond || rest > test.max+time.Microsecond {
					t.Errorf("rests for %v, want %v to %v", rest, test.min, test.max)
				}
			})
		})
	}
}

func TestAnAddressRestsWithoutItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(1000)
		l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/gone":
				w.WriteHeader(http.StatusNotFound)
			case "/broken":
				w.WriteHeader(http.StatusInternalServerError)
			default:
				serves(data, "")(w, r)
			}
		}, Config{})
		defer l.close()
		get := func(path string) error {
			_, err := l.get(t.Context(), Resource{URL: "http://Origin.test:80" + path, Size: 1000}, 0, 1000)
			return err
		}
		if get("/gone") == nil || l.Resting("http://origin.test/gone") != l.Resting("http://origin.test/") {
			t.Error("what is gone was given")
		}
		if err := get("/file"); err != nil {
			t.Errorf("another file of the same server: %v", err)
		}
		if err := get("/gone"); !errors.Is(err, ErrResting) {
			t.Errorf("what was gone: %v", err)
		}
		if get("/broken") == nil || !errors.Is(get("/file"), ErrResting) {
			t.Error("a server that fails is asked on")
		}
		if l.Resting("https://origin.test/file") != (time.Time{}) || l.Resting("http://other.test/file") != (time.Time{}) {
			t.Error("other servers rest, too")
		}
	})
}

// Requests that fail together are one failure; one that was under way before
// ends no rest.
func TestFailuresTogetherCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, hangs, Config{})
		defer l.close()
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if _, err := l.get(t.Context(), Resource{URL: here, Size: 1000}, 0, 1000); !errors.Is(err, ErrSlow) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if rest := time.Until(l.Resting(here)); rest > time.Minute+time.Microsecond {
			t.Errorf("rests for %v", rest)
		}
	})
}

func TestCallingOffIsNoFailureUnlessItTookLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, hangs, Config{})
		defer l.close()
		for wait, rests := range map[time.Duration]bool{impatience / 2: false, impatience * 2: true} {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			if _, err := l.get(ctx, Resource{URL: here, Size: 1000}, 0, 1000); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
			if until := l.Resting(here); until.IsZero() == rests {
				t.Errorf("called off after %v: rests until %v", wait, until)
			}
			time.Sleep(2 * maxRest)
		}
	})
}

func TestHostIsAskedFewThingsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := random(1000)
		var now, most atomic.Int32
		l := newLab(t, func(w http.ResponseWriter, r *http.Request) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(100 * time.Millisecond)
			now.Add(-1)
			serves(data, "")(w, r)
		}, Config{PerHost: 3})
		defer l.close()
		begun := time.Now()
		var group sync.WaitGroup
		for range 12 {
			group.Go(func() {
				if _, err := l.get(t.Context(), Resource{URL: here, Size: 1000}, 0, 1000); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if most.Load() != 3 || time.Since(begun) != 400*time.Millisecond {
			t.Errorf("%d at once, %v for 12", most.Load(), time.Since(begun))
		}
		// Who waits for a slot can be called off.
		ctx, cancel := context.WithCancel(t.Context())
		var parts []*Part
		for range 3 {
			p, err := l.Range(t.Context(), Resource{URL: here, Size: 1000}, 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, p)
		}
		group.Go(func() {
			if _, err := l.get(ctx, Resource{URL: here, Size: 1000}, 0, 1000); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		group.Wait()
		for _, p := range parts {
			p.Close()
			if _, err := p.Read(make([]byte, 1)); !errors.Is(err, errClosed) {
				t.Error(err)
			}
		}
		if len(l.hosts) != 0 {
			t.Errorf("%d hosts are remembered", len(l.hosts))
		}
	})
}

func TestRestsAreBounded(t *testing.T) {
	r := rests{by: make(map[string]*rest)}
	now := time.Now()
	for i := range 3 * maxRests {
		r.note(now.Add(time.Duration(i)*time.Millisecond), time.Duration(i).String(), now, 0)
	}
	if len(r.by) > maxRests {
		t.Errorf("%d rests are remembered", len(r.by))
	}
}

var _ io.ReadCloser = (*Part)(nil)
