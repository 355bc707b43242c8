// Package term owns how Millrace speaks: which stream a word goes to, when it may be coloured, and
// the one table and one set of output formats that every command prints with.
package term

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	xterm "golang.org/x/term"

	"millrace/schema"
)

// IO is where a command reads and writes. Data goes to Out, words for people to Err.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Width    int  // columns of the terminal behind Out; 0: not a terminal
	Colour   bool // Out may be coloured
	ErrTTY   bool // Err is a terminal that may be coloured
	Now      func() time.Time
}

// System is the process's own streams.
func System() *IO {
	s := &IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now}
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	force := os.Getenv("CLICOLOR_FORCE") != "" && os.Getenv("CLICOLOR_FORCE") != "0"
	if fd := int(os.Stdout.Fd()); xterm.IsTerminal(fd) {
		s.Width, s.Colour = 80, !plain
		if w, _, err := xterm.GetSize(fd); err == nil && w > 20 {
			s.Width = w
		}
	}
	s.Colour = s.Colour || force && !plain
	s.ErrTTY = !plain && (force || xterm.IsTerminal(int(os.Stderr.Fd())))
	return s
}

// Test gives buffers for streams.
func Test() (s *IO, out, errOut *bytes.Buffer) {
	out, errOut = new(bytes.Buffer), new(bytes.Buffer)
	return &IO{In: strings.NewReader(""), Out: out, Err: errOut, Now: time.Now}, out, errOut
}

// TTY reports whether a person looks at Out.
func (s *IO) TTY() bool { return s.Width > 0 }

// A Style is how a word is coloured on a terminal.
type Style string

// The styles; every command takes from these.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Cyan   Style = "36"
)

// Paint colours text for Out, where Out may be coloured.
func (s *IO) Paint(style Style, text string) string { return paint(s.Colour, style, text) }

// PaintErr colours text for Err.
func (s *IO) PaintErr(style Style, text string) string { return paint(s.ErrTTY, style, text) }

func paint(on bool, style Style, text string) string {
	if !on || style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// Time shows a moment: how long ago on a terminal, RFC 3339 elsewhere.
func (s *IO) Time(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if !s.TTY() {
		return t.UTC().Format(time.RFC3339)
	}
	if d := s.Now().Sub(t); d >= 0 {
		return Span(d) + " ago"
	}
	return "in " + Span(t.Sub(s.Now()))
}

// Span is a duration in at most two units, as people say it: "850ms", "12s", "3m20s", "5h", "9d".
func Span(d time.Duration) string {
	unit := time.Minute
	switch {
	case d < time.Second:
		unit = time.Millisecond
	case d < 10*time.Second:
		unit = 100 * time.Millisecond
	case d < time.Hour:
		unit = time.Second
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return schema.Duration(d.Round(unit)).String()
}
