// Package plot draws what happened over time, as pictures that a browser or a
// README shows.
//
// A Figure has panels, one below the other over one time axis: in each of them
// lines that share a unit, and levels that they should keep. Marks say at what time
// something was done, across all panels. SVG returns the picture as text, the same
// bytes for the same Figure:
//
//   - Points are first thinned to what the width can show (thin.go), so that an
//     hour of samples takes as much room as a minute of them.
//   - Each axis gets ticks at 1, 2 or 5 times a power of ten (scale.go). Values
//     begin at 0, unless some are below it.
//   - The text is what it needs and no more: no scripts, no fonts, nothing loaded.
//     It is legible on light and dark pages, by what the reader's system prefers,
//     and with any kind of color vision (style.go).
//
// Where points come from and what becomes of the text is left to the caller.
package plot
