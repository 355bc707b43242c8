package demoagent

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"millrace/workspace"
)

// A block is one thing that the document spells out.
type block struct {
	verb  string // write, replace, task, question
	path  string // below the project; of a task: its file in the outbox
	first bool   // the wrong first attempt
	after string // of a task: the one whose place it takes when that came back
	fence string
	lines []string
}

// Verbs that are no edits.
const (
	verbTask     = "task"
	verbQuestion = "question"
)

// parse finds the blocks of a text that the agent knows; every other block is passed over. As in Markdown, a block
// ends at a fence that is at least as long as its own: a task holds blocks of shorter ones.
func parse(text string) ([]block, error) {
	var found []block
	var open *block // nil outside of a block
	scan := bufio.NewScanner(strings.NewReader(text))
	scan.Buffer(nil, len(text)+1)
	for scan.Scan() {
		line := strings.TrimSuffix(scan.Text(), "\r")
		info := strings.TrimLeft(line, "`")
		mark := line[:len(line)-len(info)]
		switch {
		case open == nil && len(mark) >= len("```"):
			b, err := header(info)
			if err != nil {
				return nil, err
			}
			b.fence = mark
			open = &b
		case open != nil && len(mark) >= len(open.fence) && strings.TrimSpace(info) == "":
			if open.verb != "" {
				found = append(found, *open)
			}
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
	}
	if open != nil && open.verb != "" {
		return nil, fmt.Errorf("the block %q has no end", strings.TrimSpace(open.verb+" "+open.path))
	}
	return found, scan.Err()
}

func header(info string) (block, error) {
	words := strings.Fields(info)
	switch {
	case len(words) == 1 && words[0] == verbQuestion:
		return block{verb: verbQuestion}, nil
	case len(words) > 1 && words[0] == verbTask:
		b := block{verb: verbTask, path: words[1]}
		if len(words) == 4 && words[2] == "after" {
			b.after, words = words[3], words[:2]
		}
		if len(words) != 2 || b.path != path.Base(b.path) || path.Ext(b.path) != ".md" {
			return block{}, fmt.Errorf("%q is not: task FILE.md, task FILE.md after TASK", info)
		}
		return b, nil
	case len(words) < 2 || words[0] != "write" && words[0] != "replace":
		return block{}, nil
	}
	b := block{verb: words[0], path: path.Clean(words[1]), first: slices.Contains(words[2:], "first-attempt")}
	top, _, _ := strings.Cut(b.path, "/")
	if path.IsAbs(b.path) || top == ".." || top == "." || top == workspace.Folder || top == ".git" {
		return block{}, fmt.Errorf("%q is not a path of the project", words[1])
	}
	return b, nil
}

func (b block) text() string { return strings.Join(b.lines, "\n") + "\n" }

// title of a task: its first line.
func (b block) title() string {
	return strings.TrimSuffix(b.path, ".md") + ", " + strings.TrimLeft(strings.SplitN(b.text(), "\n", 2)[0], "# ")
}

// tasks are those that a text proposes: at first, or in the place of one that came back.
func tasks(all []block, after string) []block {
	return slices.DeleteFunc(slices.Clone(all), func(b block) bool { return b.verb != verbTask || b.after != after })
}

// edits are the blocks that change the project.
func edits(all []block) []block {
	return slices.DeleteFunc(slices.Clone(all), func(b block) bool { return b.verb == verbTask || b.verb == verbQuestion })
}

// choose takes the plain blocks, or the first attempts in their place.
func choose(all []block, firstAttempt bool) []block {
	var chosen []block
	all = edits(all)
	for _, b := range all {
		twin := slices.ContainsFunc(all, func(o block) bool { return o.first && o.verb == b.verb && o.path == b.path })
		if b.first == firstAttempt || !b.first && !twin {
			chosen = append(chosen, b)
		}
	}
	return chosen
}

// follow does what a block says, inside the project, and tells what it did.
func (b block) follow(project *os.Root) (string, error) {
	text := b.text()
	if b.verb == "write" {
		if err := project.MkdirAll(path.Dir(b.path), 0o777); err != nil {
			return "", fmt.Errorf("make folder: %w", err)
		}
		if err := project.WriteFile(b.path, []byte(text), 0o666); err != nil {
			return "", fmt.Errorf("write file: %w", err)
		}
		return "wrote " + b.path, nil
	}
	at := slices.Index(b.lines, "====")
	if at < 0 {
		return "", fmt.Errorf("the block \"replace %s\" has no line \"====\"", b.path)
	}
	data, err := project.ReadFile(b.path)
	if err != nil {
		return "", fmt.Errorf("read file: %w", err)
	}
	body := strings.Split(string(data), "\n")
	old, want := b.lines[:at], b.lines[at+1:]
	switch places := occurrences(body, old); {
	case len(places) == 0 && len(occurrences(body, want)) > 0:
		return b.path + " says so already", nil
	case len(places) != 1:
		return "", fmt.Errorf("the text to replace stands %d times in %s", len(places), b.path)
	default:
		body = slices.Replace(body, places[0], places[0]+len(old), want...)
	}
	if err := project.WriteFile(b.path, []byte(strings.Join(body, "\n")), 0o666); err != nil {
		return "", fmt.Errorf("write file: %w", err)
	}
	return "replaced a passage of " + b.path, nil
}

// occurrences lists where the lines of part stand in body.
func occurrences(body, part []string) []int {
	var places []int
	for i := 0; i+len(part) <= len(body); i++ {
		if len(part) > 0 && slices.Equal(body[i:i+len(part)], part) {
			places = append(places, i)
		}
	}
	return places
}
