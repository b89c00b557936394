package plot

import (
	"fmt"
	"strings"
)

// Colors of lines, on light and on dark. They are those of Okabe and Ito (Color
// Universal Design, 2008), which stay apart for every kind of color vision, made
// darker or lighter until each stands out from its ground by 3 to 1 (WCAG 2.2,
// 1.4.11).
var colors = [...]struct{ light, dark string }{
	{"#0072b2", "#4aa3df"}, // blue
	{"#d55e00", "#f0803c"}, // vermilion
	{"#008560", "#1fb58f"}, // green
	{"#b0578d", "#d98ab5"}, // purple
	{"#b07400", "#e69f00"}, // orange
	{"#2f8fc0", "#8fd0f5"}, // sky
	{"#555555", "#c0c0c0"}, // gray
}

// After all colors they come again, dashed.
var dashes = [...]string{"", "6 3", "2 3", "8 3 2 3"}

// lineClass returns the classes of line number i.
func lineClass(i int) string {
	class := fmt.Sprintf("c%d", i%len(colors))
	if d := i / len(colors) % len(dashes); d > 0 {
		class += fmt.Sprintf(" d%d", d)
	}
	return class
}

// style is what is the same in all figures: the picture brings its own ground, so
// that it is legible on whatever page it stands.
var style = func() string {
	var b strings.Builder
	b.WriteString("text{font:11px system-ui,sans-serif;fill:var(--text)}.t{font-size:14px;font-weight:600}.p{font-weight:600}.e{text-anchor:end}.m{text-anchor:middle}" +
		".bg{fill:var(--bg)}.dim{fill:var(--dim)}.l,.g,.a,.v,.k{fill:none;stroke-width:1}.g{stroke:var(--grid)}.a{stroke:var(--dim)}.k{stroke:var(--text);stroke-dasharray:5 4}.v{stroke:var(--dim);stroke-dasharray:2 3}" +
		".l{stroke-width:1.6;stroke-linejoin:round;stroke-linecap:butt}.h{stroke:transparent;stroke-width:7}.o{paint-order:stroke;stroke:var(--bg);stroke-width:3px}")
	for i, d := range dashes[1:] {
		fmt.Fprintf(&b, ".d%d{stroke-dasharray:%s}", i+1, d)
	}
	light, dark := "--bg:#fff;--text:#24292f;--dim:#6e7781;--grid:#e4e7eb;", "--bg:#0d1117;--text:#e6edf3;--dim:#8b949e;--grid:#262c36;"
	for i, c := range colors {
		fmt.Fprintf(&b, ".c%d{stroke:var(--c%d)}", i, i)
		light += fmt.Sprintf("--c%d:%s;", i, c.light)
		dark += fmt.Sprintf("--c%d:%s;", i, c.dark)
	}
	fmt.Fprintf(&b, "svg{%s}@media(prefers-color-scheme:dark){svg{%s}}", light, dark)
	return b.String()
}()
