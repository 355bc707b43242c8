package runner

import (
	"fmt"
	"os"
	"sync"
)

// A mouth says lines to an agent, which may be slow to listen: nobody who speaks waits for it.
type mouth struct {
	mu    sync.Mutex
	lines chan []byte // nil: nothing more will be said
	pipe  *os.File
	done  chan struct{}
}

// mouthfuls is how many lines may be on their way. An agent that heeds none of so many will not miss the next.
const mouthfuls = 64

// newMouth returns the end that the agent reads.
func newMouth() (*mouth, *os.File, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("open the agent's input: %w", err)
	}
	lines := make(chan []byte, mouthfuls)
	m := &mouth{lines: lines, pipe: write, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for line := range lines {
			_, _ = m.pipe.Write(line) // who is gone hears nothing
		}
		_ = m.pipe.Close()
	}()
	return m, read, nil
}

func (m *mouth) say(line []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case m.lines <- line: // never, when it is nil
	default:
	}
}

// end closes the agent's input behind what was said.
func (m *mouth) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lines != nil {
		close(m.lines)
		m.lines = nil
	}
}

// free ends it at once.
func (m *mouth) free() {
	m.end()
	_ = m.pipe.Close() // ends a write that waits
	<-m.done
}
