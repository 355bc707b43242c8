package schema

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"sync"
)

const (
	maxMarkerLine = 512 // bytes of a line that are looked at; no marker is longer
	maxMarkers    = 16  // distinct markers kept; two already conflict
	maxReason     = 500 // bytes of the paragraph that says why
)

// Compiled when they are first needed: every short command and every supervisor would pay for them.
var (
	markerPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^ {0,3}###[ \t]+([A-Z][A-Z0-9_]*)[ \t]*$`) })
	fencePattern  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("^ {0,3}(`{3,}|~{3,})(.*)$") })
)

// Markers finds the lines "### TOKEN" outside code fences in a text that is written to it piece by
// piece, and the paragraph before the last of them, in memory that does not grow with the text. The zero value is ready.
type Markers struct {
	found []string
	line  []byte
	fence []byte // of the code block the text is in

	said   []byte // the paragraph that the text is in, or was in last
	ended  bool   // by a blank line
	reason []byte // the paragraph before the last marker
}

// Write takes the next piece of the text; it never fails.
func (m *Markers) Write(p []byte) (int, error) {
	n := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			m.keep(p)
			return n, nil
		}
		m.keep(p[:end])
		m.endLine()
		p = p[end+1:]
	}
}

// Found are the distinct tokens so far, in the order of their first appearance. A last line that
// no line feed ends counts.
func (m *Markers) Found() []string { return m.whole().found }

// Reason is the last paragraph before the last marker, or, where there is none, the last one of the text: in one line,
// and cut where it is long.
func (m *Markers) Reason() string {
	all := m.whole()
	if len(all.reason) > 0 {
		return OneLine(string(all.reason), maxReason)
	}
	return OneLine(string(all.said), maxReason)
}

// whole is a copy for which the last line has ended.
func (m *Markers) whole() *Markers {
	all := *m
	all.found, all.said, all.reason = slices.Clone(m.found), bytes.Clone(m.said), bytes.Clone(m.reason)
	all.endLine()
	return &all
}

// Text is a short message in which the same markers and the same reason are found. The reason is quoted, so that it
// is neither marker nor fence.
func (m *Markers) Text() string {
	var b strings.Builder
	if reason := m.Reason(); reason != "" {
		b.WriteString("> " + reason + "\n\n")
	}
	for _, token := range m.Found() {
		b.WriteString("### " + token + "\n")
	}
	return b.String()
}

// keep holds on to what one line may need; of a line that is too long to be a marker only so much
// that it is not taken for one.
func (m *Markers) keep(p []byte) {
	room := maxMarkerLine - len(m.line)
	m.line = append(m.line, p[:min(room, len(p))]...)
	if len(p) > room {
		m.line[maxMarkerLine-1] = '!' // neither marker nor closing fence
	}
}

func (m *Markers) endLine() {
	line := bytes.TrimSuffix(m.line, []byte{'\r'})
	m.line = m.line[:0]
	if f := fencePattern().FindSubmatch(line); f != nil {
		m.turnFence(f[1], f[2])
		return
	}
	t := markerPattern().FindSubmatch(line)
	if m.fence != nil || t == nil {
		m.say(line)
		return
	}
	if len(m.said) > 0 {
		m.reason, m.said = m.said, nil
	}
	if token := string(t[1]); len(m.found) < maxMarkers && !slices.Contains(m.found, token) {
		m.found = append(m.found, token)
	}
}

// say adds a line to the paragraph that the text is in.
func (m *Markers) say(line []byte) {
	line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("> ")))
	switch {
	case len(line) == 0:
		m.ended = true
		return
	case m.ended:
		m.said, m.ended = nil, false
	}
	if room := 2*maxReason - len(m.said); room > 0 {
		m.said = append(append(m.said, line[:min(room, len(line))]...), ' ')
	}
}

// turnFence opens a code block, or closes the open one: with the same character, at least as long,
// and nothing behind it.
func (m *Markers) turnFence(marks, info []byte) {
	switch {
	case m.fence == nil && (marks[0] == '~' || !bytes.ContainsRune(info, '`')): // ```x``` is code within a line
		m.fence = bytes.Clone(marks)
	case m.fence != nil && marks[0] == m.fence[0] && len(marks) >= len(m.fence) && len(bytes.TrimSpace(info)) == 0:
		m.fence = nil
	}
}
