package foreground

import "time"

// A Difference is what became of users' traffic beside something else, held against
// the same alone. What only one of them did is nil.
type Difference struct {
	Kept *float64 `json:"bulk_kept_percent,omitempty"`

	// Of the times of pages, with and alone: 1 is no difference.
	Page *float64 `json:"page_ratio,omitempty"`

	// The worse direction of a call: delay at p99, and percent of packets lost, that
	// came on top.
	Delay *time.Duration `json:"delay_p99_added_ns,omitempty"`
	Lost  *float64       `json:"lost_added_percent,omitempty"`
	MOS   *float64       `json:"mos_lost,omitempty"`
}

// Compare holds what users felt against what they felt alone.
func Compare(alone, with Summary) Difference {
	var d Difference
	if a, w := alone.Bulk, with.Bulk; a != nil && w != nil && a.Rate > 0 {
		kept := 100 * w.Rate / a.Rate
		d.Kept = &kept
	}
	if a, w := alone.Web, with.Web; a != nil && w != nil && a.Median > 0 {
		ratio := float64(w.Median) / float64(a.Median)
		d.Page = &ratio
	}
	if a, w := alone.Voip, with.Voip; a != nil && w != nil {
		delay := max(w.Down.P99-a.Down.P99, w.Up.P99-a.Up.P99)
		lost := max(w.Down.Lost-a.Down.Lost, w.Up.Lost-a.Up.Lost)
		mos := max(a.Down.MOS-w.Down.MOS, a.Up.MOS-w.Up.MOS)
		d.Delay, d.Lost, d.MOS = &delay, &lost, &mos
	}
	return d
}
