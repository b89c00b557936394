package play

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const sample = `# A member dies while it fetches:
# its site finishes anyway.
branches 2, peers 5   # ten endpoints
link up rate=20mbit delay=20ms buffer=200ms
link down rate=20mbit delay=20ms buffer=200ms
hq up rate=100mbit
off branch-a-5, branch-b-5
limit 90s
content image 16MiB
content next from image 5% changed
content patch 2MiB priority urgent

at 0s publish image
at 0s get image at branch-a, branch-b-1
when image 30% at branch-a kill branch-a-2
after 5s start branch-a-2
when image done at branch-a publish next at branch-a-1
after 1s get next at all
at 3s move branch-b-2 to branch-a
at 3s cut branch-a, branch-b
at 4s heal branch-a, branch-b
at 5s link branch-a both rate=5mbit loss=1%
at 6s freeze branch-a-3
at 8s thaw branch-a-3
at 8s unplug branch-a-3
at 9s plug branch-a-3
at 9s restart operator, branch-a-5, branch-b-5
at 9s stop hq
at 2s bulk at branch-b for 10s
at 2s voip at branch-b for 10s
at 2s web at branch-b for 10s
level done at branch-a <= 1.1 x wire
level copies image at branch-a <= 1.05 short: members of a site don't share out yet who fetches what
level wasted <= 2%
level correct = all
level stall at branch-a <= 2.5s
level rss <= 96MiB
level page at branch-b <= 1.25 x alone
level first next <= 10s
`

func TestParseReadsWhatHappens(t *testing.T) {
	s, err := Parse("sample", sample)
	if err != nil {
		t.Fatal(err)
	}
	if s.About != "A member dies while it fetches: its site finishes anyway." {
		t.Errorf("it is about %q", s.About)
	}
	if len(s.Contents) != 3 || len(s.Events) != 19 || len(s.Levels) != 8 {
		t.Errorf("%d contents, %d events, %d levels; want 3, 19, 8", len(s.Contents), len(s.Events), len(s.Levels))
	}
	if c := s.Contents[1]; c.Size != 16<<20 || c.Changed != 5 || c.From != "image" {
		t.Errorf("the changed content is %+v", c)
	}
	if l := s.Levels[1]; l.Short != "members of a site don't share out yet who fetches what" || l.Figure != (Figure{1.05, Plain}) {
		t.Errorf("a level is %+v", l)
	}
	again, err := Parse("sample", s.String())
	if err != nil {
		t.Fatalf("what String wrote: %v\n%s", err, s)
	}
	if d := cmp.Diff(s, again, withoutLines); d != "" {
		t.Errorf("it doesn't read back to the same:\n%s", d)
	}
}

var withoutLines = cmp.Options{
	cmpopts.IgnoreFields(Event{}, "Line"), cmpopts.IgnoreFields(Level{}, "Line"), cmpopts.EquateEmpty(),
}

// Each mistake is told with its place and what would have been right.
func TestParseSaysWhatIsWrong(t *testing.T) {
	head := "branches 2, peers 2\ncontent image 1MiB\n"
	for _, c := range []struct{ text, want string }{
		{"", "x.scenario: it is empty; begin with what stands in the box"},
		{"at 0s publish image", "x.scenario:1: \"at\": what stands in the box comes first"},
		{"branches 2 peers", "x.scenario:1: want: branches NUMBER, peers NUMBER"},
		{"branches 27, peers 1", "x.scenario:1: 27 branches: want 1 to 26"},
		{"branches 1.5, peers 1", "want: branches NUMBER"},
		{head + "lnik up rate=1mbit", `x.scenario:3: no statement "lnik"; did you mean link?`},
		{head + "link in rate=1mbit", `no direction "in"; there are up, down`},
		{head + "link up rate=20", "want a unit, as in 20mbit"},
		{head + "link up rate=1mbit\nlink up rate=2mbit", "x.scenario:4: link up stands here a second time"},
		{head + "at 0s kil branch-a-1", `x.scenario:3: no verb "kil"; did you mean kill? There are publish`},
		{head + "at 0s kill branch-a-3", `no place "branch-a-3"; did you mean branch-a-1?`},
		{head + "at 0s kill branch-c", `no place "branch-c"; did you mean branch-a?`},
		{head + "at 0s get imgae at all", `no content "imgae"; did you mean image? There are image`},
		{head + "at 0s get image", "get image: want: get CONTENT at PLACE"},
		{head + "at 0s get image at all, all", "all stands there twice"},
		{head + "at 0s publish image at branch-a", "want: publish CONTENT [at NODE]"},
		{head + "at 5 publish image", `"5" is no time; want one as in 2s`},
		{head + "after 5s publish image", "there is no event above it"},
		{head + "at 0s", "at 0s: and then?"},
		{head + "when image 30% kill all", "want: when CONTENT SHARE|done at PLACE"},
		{head + "when image 130% at all kill all", `"130%": want a share, as in 30%`},
		{head + "at 0s move branch-a to branch-b", "want: move NODE to SITE"},
		{head + "at 0s cut branch-a-1", `no site "branch-a-1"`},
		{head + "at 0s link branch-a both delay=x", `setting "delay=x"`},
		{head + "at 0s publish image\nafter 1s bulk at branch-a for 2s", "it has a time of its own: at TIME bulk at branch-a for 2s"},
		{head + "at 0s bulk at branch-a for 0s", "it lasts longer than that"},
		{head + "content image 1MiB", "content image: something has that name already"},
		{head + "content branch-a 1MiB", "something has that name already"},
		{head + "content Image 1MiB", "want a name of small letters"},
		{head + "content two 1MB", `"1MB" is no size; want one as in 16MiB`},
		{head + "content two from none 5% changed", `no content "none"`},
		{head + "content two from image 5% changed\ncontent three from two 5% changed", "x.scenario:4: content three: two is a changed copy itself; want one of image"},
		{head + "content two 1MiB priority high", `no priority "high"; there are urgent, normal, background`},
		{head + "level dune <= 1s", `no measure "dune"; did you mean done?`},
		{head + "level copies at branch-a-1 <= 1", "copies is of a site, and branch-a-1 is none"},
		{head + "level uplink at branch-a <= 1", "uplink isn't of a place"},
		{head + "level rss image <= 1MiB", "rss isn't of a content"},
		{head + "level rss <= 5%", "rss has another unit; want a size (96MiB)"},
		{head + "level done <= soon", `"soon" is no figure`},
		{head + "level done < 1s", "want <=, >= or ="},
		{head + "level done <= 1s short:", "short: want the reason"},
		{head + "limit 0s", "a scenario takes longer than that"},
		{head + "off branch-a", "off: branch-a is no node"},
		{head + "at 0s publish image\nat 1s publish image\nlevel correct = all", "line 4: image is published twice"},
		{head + "at 0s get image at all\nlevel correct = all", "nobody publishes image"},
		{head + "at 5m publish image\nlevel correct = all", "line 3: 5m0s is later than the limit of 2m0s"},
		{head + "off branch-a-1\nat 0s publish image\nat 0s get image at all\nlevel correct = all", "branch-a-1 is off and gets something; want a line as in: at 5s start branch-a-1"},
		{head + "at 0s publish image", "nothing happens, or nothing has to hold"},
		{head + "at 0s publish \x01", "it isn't text"},
	} {
		_, err := Parse("x", c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v\nwant: %s", c.text, err, c.want)
		}
	}
}

// All mistakes are told at once, not the first alone.
func TestParseTellsAllMistakes(t *testing.T) {
	_, err := Parse("x", "branches 1, peers 1\nfoo\nbar\n")
	if err == nil || strings.Count(err.Error(), "x.scenario:") != 2 {
		t.Errorf("%v; want two mistakes", err)
	}
}

// FuzzParse: whatever is typed, Parse returns, and what it took reads back to the same.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("#\nbranches 1, peers 1\ncontent a 1B\nat 0s publish a\nlevel correct = all")
	for _, m := range Measures {
		f.Add(fmt.Sprintf("branches 1, peers 1\ncontent a 1B\nat 0s publish a\nlevel %s at branch-a <= 0.5s short: x", m.Name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("fuzz", text)
		if err != nil {
			if len(err.Error()) > 4000*(1+strings.Count(text, "\n"))+2*len(text) {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := Parse("fuzz", s.String())
		if err != nil {
			t.Fatalf("what String wrote: %v\n%s", err, s)
		}
		if d := cmp.Diff(s, again, withoutLines); d != "" {
			t.Fatalf("it doesn't read back to the same:\n%s\n%s", d, s)
		}
	})
}

func TestScaledTakesLongerAndMovesMore(t *testing.T) {
	s, err := Parse("sample", sample)
	if err != nil {
		t.Fatal(err)
	}
	x := s.Scaled(2)
	if x.Limit != 2*s.Limit || x.Contents[0].Size != 32<<20 || x.Events[3].When.Time != 2*s.Events[3].When.Time ||
		x.Events[18].Do.For != 2*s.Events[18].Do.For || x.Down.Rate != s.Down.Rate {
		t.Errorf("twice as long is:\n%s", x)
	}
	if s.Contents[0].Size != 16<<20 || s.Events[18].Do.For.Seconds() != 10 {
		t.Errorf("the scenario itself changed:\n%s", s)
	}
}
