package runner

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// FuzzLines holds lines to what a reader of the whole text would see, however the text is cut into pieces.
func FuzzLines(f *testing.F) {
	f.Add("a\n\nb\r\nc", 1)
	f.Add("{\"x\":\"\u2028\"}\n", 3)
	f.Add(strings.Repeat("long ", 9)+"\nend", 2)
	f.Fuzz(func(t *testing.T, text string, size int) {
		var got []string
		l := &lines{each: func(line []byte) { got = append(got, string(line)) }}
		for piece := range slices.Chunk([]byte(text), max(1, size%7)) {
			if n, err := l.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		want := strings.Split(text, "\n")
		want = slices.DeleteFunc(want[:len(want)-1], func(s string) bool { return s == "" })
		if !slices.Equal(got, want) {
			t.Errorf("%q gave %q, not %q", text, got, want)
		}
	})
}

func TestALineThatIsTooLongIsPassedOver(t *testing.T) {
	var got []string
	l := &lines{each: func(line []byte) { got = append(got, string(line[:min(len(line), 9)])) }}
	piece := bytes.Repeat([]byte("x"), 1<<20)
	for range lineCap/len(piece) + 1 {
		_, _ = l.Write(piece)
	}
	if len(l.part) > 0 {
		t.Errorf("%d bytes of it are still held", len(l.part))
	}
	_, _ = l.Write([]byte("its end\nthe next\n"))
	if !slices.Equal(got, []string{"the next"}) {
		t.Errorf("heard %q", got)
	}
}
