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

// A block is one edit that the task spells out.
type block struct {
	verb  string // write, replace
	path  string // below the project
	first bool   // the wrong first attempt
	lines []string
}

const fence = "```"

// parse finds the edit blocks of a prompt; every other block is passed over.
func parse(prompt string) ([]block, error) {
	var found []block
	var open *block // nil outside of a block
	scan := bufio.NewScanner(strings.NewReader(prompt))
	scan.Buffer(nil, len(prompt)+1)
	for scan.Scan() {
		line := strings.TrimSuffix(scan.Text(), "\r")
		mark := strings.HasPrefix(line, fence) && !strings.HasPrefix(line, fence+"`")
		switch {
		case open == nil && mark:
			b, err := header(strings.TrimPrefix(line, fence))
			if err != nil {
				return nil, err
			}
			open = &b
		case open != nil && mark && strings.TrimSpace(line) == fence:
			if open.verb != "" {
				found = append(found, *open)
			}
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
	}
	if open != nil && open.verb != "" {
		return nil, fmt.Errorf("the block %q has no end", open.verb+" "+open.path)
	}
	return found, scan.Err()
}

func header(info string) (block, error) {
	words := strings.Fields(info)
	if len(words) < 2 || words[0] != "write" && words[0] != "replace" {
		return block{}, nil
	}
	b := block{verb: words[0], path: path.Clean(words[1]), first: slices.Contains(words[2:], "first-attempt")}
	top, _, _ := strings.Cut(b.path, "/")
	if path.IsAbs(b.path) || top == ".." || top == "." || top == workspace.Folder || top == ".git" {
		return block{}, fmt.Errorf("%q is not a path of the project", words[1])
	}
	return b, nil
}

// choose takes the plain blocks, or the first attempts in their place.
func choose(all []block, firstAttempt bool) []block {
	var chosen []block
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
	text := strings.Join(b.lines, "\n") + "\n"
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
