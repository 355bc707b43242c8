package term

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Cell is text with a style. Rows take anything else as its text.
type Cell struct {
	Text  string
	Style Style
}

// A Table aligns columns. The last column is never padded, and on a terminal it is cut to its width.
type Table struct {
	columns []column
	rows    [][]Cell
}

type column struct {
	name string
	wide bool
}

// NewTable makes a table of the named columns; one that begins with '+' is shown with -o wide only.
func NewTable(columns ...string) *Table {
	t := new(Table)
	for _, c := range columns {
		name, wide := strings.CutPrefix(c, "+")
		t.columns = append(t.columns, column{name, wide})
	}
	return t
}

// Row adds a row, a value for each column.
func (t *Table) Row(values ...any) {
	if len(values) != len(t.columns) {
		panic(fmt.Sprintf("table row of %d values for %d columns", len(values), len(t.columns)))
	}
	row := make([]Cell, len(values))
	for i, v := range values {
		c, ok := v.(Cell)
		if !ok {
			c = Cell{Text: fmt.Sprint(v)}
		}
		if c.Text == "" {
			c.Text = "-"
		}
		row[i] = Cell{OneLine(c.Text), c.Style}
	}
	t.rows = append(t.rows, row)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Print writes the table; an empty one prints nothing, so that a pipe reads nothing.
func (t *Table) Print(s *IO, wide bool) {
	if len(t.rows) == 0 {
		return
	}
	var shown []int
	for i, c := range t.columns {
		if !c.wide || wide {
			shown = append(shown, i)
		}
	}
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = utf8.RuneCountInString(c.name)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].Text))
		}
	}
	if s.TTY() && !wide {
		fit(shown, widths, s.Width)
	}
	var b strings.Builder
	head := make([]Cell, len(t.columns))
	for i, c := range t.columns {
		head[i] = Cell{c.name, Dim}
	}
	for _, row := range append([][]Cell{head}, t.rows...) {
		line(&b, s, row, shown, widths)
	}
	_, _ = fmt.Fprint(s.Out, b.String())
}

const gap = "  "

// Columns are not cut below this, so that the ids of runs stay whole.
const narrow = 36

// fit makes the widest columns but the last narrower, until the row fits.
func fit(shown, widths []int, width int) {
	for {
		total, widest := 0, -1
		for n, i := range shown {
			if n == len(shown)-1 {
				total += min(widths[i], 20)
				break
			}
			total += widths[i] + len(gap)
			if widest < 0 || widths[i] > widths[widest] {
				widest = i
			}
		}
		if total <= width || widest < 0 || widths[widest] <= narrow {
			return
		}
		widths[widest] = max(narrow, widths[widest]-(total-width))
	}
}

func line(b *strings.Builder, s *IO, row []Cell, shown, widths []int) {
	used := 0
	for n, i := range shown {
		text := row[i].Text
		last := n == len(shown)-1
		switch {
		case last && s.TTY():
			text = Cut(text, max(20, s.Width-used))
		case !last:
			text = Cut(text, widths[i])
		}
		b.WriteString(s.Paint(row[i].Style, text))
		if !last {
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)))
			b.WriteString(gap)
			used += widths[i] + len(gap)
		}
	}
	b.WriteByte('\n')
}

// OneLine joins the lines of a text and takes control characters out of it: what agents and
// documents say must not move the cursor.
func OneLine(text string) string {
	clean := func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return -1
		}
		return r
	}
	return strings.TrimSpace(strings.Map(clean, text))
}

// Cut shortens text to n runes, the last of them an ellipsis.
func Cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

// Fields prints aligned "Name:  value" lines, leaving out empty values.
type Fields struct{ names, values []string }

// Add a line; an empty value is left out.
func (f *Fields) Add(name, value string) {
	if value != "" {
		f.names, f.values = append(f.names, name), append(f.values, value)
	}
}

// Addf adds a formatted line.
func (f *Fields) Addf(name, format string, args ...any) { f.Add(name, fmt.Sprintf(format, args...)) }

// Print writes the lines.
func (f *Fields) Print(s *IO) {
	width := 0
	for _, n := range f.names {
		width = max(width, utf8.RuneCountInString(n))
	}
	for i, n := range f.names {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(n))
		_, _ = fmt.Fprintf(s.Out, "%s%s%s%s\n", s.Paint(Dim, n+":"), pad, gap, f.values[i])
	}
}
