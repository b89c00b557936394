//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// A table collects figures by name; each run adds one.
type table struct {
	names []string
	rows  map[string]*row
}

type row struct {
	unit    string
	figures []float64
}

func (t *table) add(name, unit string, figure float64) {
	if t.rows == nil {
		t.rows = map[string]*row{}
	}
	if t.rows[name] == nil {
		t.rows[name] = &row{unit: unit}
		t.names = append(t.names, name)
	}
	t.rows[name].figures = append(t.rows[name].figures, figure)
}

// moved adds the two figures of bytes that moved: their rate, and the CPU time
// that each GiB took.
func (t *table) moved(name string, bytes int64, took, cpu time.Duration) {
	t.add(name, "MB/s", float64(bytes)/1e6/took.Seconds())
	t.add(name+", CPU", "s/GiB", cpu.Seconds()/(float64(bytes)/(1<<30)))
}

// print writes the table as Markdown: medians, and the least and most seen.
func (t *table) print(to io.Writer) {
	if len(t.names) == 0 {
		return
	}
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| what\t| median\t| least to most\t| unit\t| runs\t|")
	fmt.Fprintln(w, "|---\t|---\t|---\t|---\t|---\t|")
	for _, name := range t.names {
		r := t.rows[name]
		median, least, most := r.spread()
		fmt.Fprintf(w, "| %s\t| %.4g\t| %.4g to %.4g\t| %s\t| %d\t|\n", name, median, least, most, r.unit, len(r.figures))
	}
	w.Flush()
}

// spread returns the median of the figures, of an even number the mean of the two in
// the middle, and the least and most of them.
func (r *row) spread() (median, least, most float64) {
	f := slices.Sorted(slices.Values(r.figures))
	half := len(f) / 2
	return (f[half] + f[len(f)-1-half]) / 2, f[0], f[len(f)-1]
}

// A named table is what one means took.
type named struct {
	name string
	table
}

// compare writes tables side by side, as Markdown. A row that one of them lacks has
// a dash there.
func compare(to io.Writer, tables []*named) {
	w := tabwriter.NewWriter(to, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, "| what\t")
	var all []string
	for _, t := range tables {
		fmt.Fprintf(w, "| %s\t| least to most\t", t.name)
		for _, name := range t.names {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	fmt.Fprintln(w, "| unit\t|")
	fmt.Fprintln(w, strings.Repeat("|---\t", 2+2*len(tables))+"|")
	for _, name := range all {
		fmt.Fprintf(w, "| %s", name)
		unit := ""
		for _, t := range tables {
			r := t.rows[name]
			if r == nil {
				fmt.Fprint(w, "\t| –\t| ")
				continue
			}
			median, least, most := r.spread()
			fmt.Fprintf(w, "\t| %.4g\t| %.4g to %.4g", median, least, most)
			unit = r.unit
		}
		fmt.Fprintf(w, "\t| %s\t|\n", unit)
	}
	w.Flush()
}

// machine tells what the figures were measured on, and how busy it was.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails on a bad pointer only
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, load %s",
		cpuModel(), runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), runtime.Version(), strings.Join(strings.Fields(string(load))[:1], ""))
}

// room fails unless dir can hold a measurement of size so many times: the sample,
// the stores and the users' copies, and a reserve. A file system in
// memory says how much it might hold, not how much there is: past that the
// kernel ends processes, and not only ours.
func room(dir string, size int64, copies int) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("space in %s: %w", dir, err)
	}
	free := int64(fs.Bavail) * int64(fs.Bsize)
	if fs.Type == unix.TMPFS_MAGIC {
		var m unix.Sysinfo_t
		if err := unix.Sysinfo(&m); err != nil {
			return fmt.Errorf("free memory: %w", err)
		}
		free = min(free, int64(m.Freeram)*int64(m.Unit))
	}
	if need := int64(copies) * size; free < need {
		return fmt.Errorf("%s has %d MiB of room, %d are needed: give a smaller -size or another -dir", dir, free>>20, need>>20)
	}
	return nil
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
