package workspace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"
)

// A Condition is a trouble that a daemon lives with: it is tried again and lifts by itself when what is
// in the way is gone. Readers show it; nothing depends on it.
type Condition struct {
	Name    string    `json:"name"` // commit, decide, observe, checkpoint, or start <request>
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

const (
	boardSize      = 16 << 10 // bytes of ConditionsFile
	longestTrouble = 1 << 10  // bytes of a message
)

// ShowConditions tells readers what the daemon lives with now. The file has its room since the daemon
// began and is written in place, so that a full disk can be told of as well.
func (w *Workspace) ShowConditions(all []Condition) error {
	all = append([]Condition{}, all...)
	for i := range all {
		all[i].Message = string(bytes.ToValidUTF8([]byte(all[i].Message[:min(len(all[i].Message), longestTrouble)]), nil))
	}
	data, err := json.Marshal(all)
	for ; err == nil && len(data) >= boardSize; data, err = json.Marshal(all) {
		all = all[:len(all)-1] // the first ones are enough
	}
	if err != nil {
		return fmt.Errorf("encode conditions: %w", err)
	}
	board := bytes.Repeat([]byte{' '}, boardSize)
	board[copy(board, data)] = '\n'
	f, err := os.OpenFile(w.abs(ConditionsFile), os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("show conditions: %w", err)
	}
	_, err = f.WriteAt(board, 0)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("show conditions: %w", full(err))
	}
	return nil
}

// Conditions are those that the running daemon lives with; none when no daemon runs.
func (w *Workspace) Conditions() []Condition {
	if _, held := w.Daemon(); !held {
		return nil
	}
	data, err := readAll(w.disk, ConditionsFile, boardSize)
	var all []Condition
	if err != nil || json.Unmarshal(data, &all) != nil {
		return nil // a message for people that cannot be read says nothing
	}
	return all
}
