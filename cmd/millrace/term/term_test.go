package term

import (
	"strings"
	"testing"
	"time"
)

func TestTableAligns(t *testing.T) {
	s, out, _ := Test()
	tab := NewTable("NAME", "+WIDE", "WHAT")
	tab.Row("é", 1, "first\nline\x1b[31m")
	tab.Row(Cell{"longer", Red}, 2, "")
	tab.Print(s, false)
	if want := "NAME    WHAT\né       first line[31m\nlonger  -\n"; out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
	out.Reset()
	tab.Print(s, true)
	if want := "NAME    WIDE  WHAT\n"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("got %q, want it to begin with %q", out, want)
	}
	out.Reset()
	NewTable("NAME").Print(s, true)
	if out.Len() != 0 {
		t.Errorf("an empty table prints %q", out)
	}
}

func TestColourAndWidthOnTerminalsOnly(t *testing.T) {
	s, out, _ := Test()
	s.Colour, s.Width = true, 40
	tab := NewTable("A", "B")
	tab.Row(Cell{"x", Green}, strings.Repeat("long ", 20))
	tab.Print(s, false)
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[1], "\x1b[32mx\x1b[0m") || !strings.HasSuffix(lines[1], "…") {
		t.Errorf("got %q", lines[1])
	}
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return now }
	if got := s.Time(now.Add(-90 * time.Second)); got != "1m30s ago" {
		t.Errorf("got %q", got)
	}
	s.Width = 0
	if got := s.Time(now); got != "2026-11-22T08:00:00Z" {
		t.Errorf("got %q", got)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234 * time.Microsecond: "1ms", 2500 * time.Millisecond: "2.5s", 20 * time.Second: "20s",
		200 * time.Second: "3m20s", 5 * time.Hour: "5h", 90 * time.Minute: "1h30m", 9 * 24 * time.Hour: "9d",
	} {
		if got := Span(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestYAMLKeepsOrderAndMeaning(t *testing.T) {
	v := struct {
		Z    string   `json:"z"`
		A    string   `json:"a"`
		Text string   `json:"text"`
		List []string `json:"list"`
	}{"true", "<&>", "two\nlines\n", []string{"1", "x: y"}}
	got, err := YAML(v)
	if err != nil {
		t.Fatal(err)
	}
	want := "z: \"true\"\na: <&>\ntext: |\n  two\n  lines\nlist:\n  - \"1\"\n  - 'x: y'\n"
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
