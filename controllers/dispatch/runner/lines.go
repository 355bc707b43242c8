package runner

import "bytes"

// lineCap is the longest line of events that is looked at. A tool's whole output may stand in one.
const lineCap = 16 << 20

// lines cuts a stream into lines at LF only: other line ends may stand inside a JSON string. A line that is longer than
// lineCap is passed over, and so is the last one when its end is missing.
type lines struct {
	each func(line []byte) // without its LF; valid until it returns
	part []byte
	skip bool // the line that is being read is too long
}

// Write never fails.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		switch {
		case l.skip:
		case len(l.part) > 0:
			l.each(append(l.part, p[:i]...))
		case i > 0:
			l.each(bytes.Clone(p[:i]))
		}
		l.part, l.skip, p = l.part[:0], false, p[i+1:]
	}
	if l.skip || len(l.part)+len(p) > lineCap {
		l.part, l.skip = nil, true
		return n, nil
	}
	l.part = append(l.part, p...)
	return n, nil
}
