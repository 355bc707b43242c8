package demoagent

import (
	"bufio"
	"fmt"
	"io/fs"
	"strings"

	"millrace/workspace"
)

// outline writes the repository map: every file of the project with its first comment line.
func (a *agent) outline() error {
	var lines []string
	err := fs.WalkDir(a.project.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == workspace.Folder || path == ".git"):
			return fs.SkipDir
		case d.Type().IsRegular():
			lines = append(lines, strings.TrimSuffix("- `"+path+"`: "+a.comment(path), ": "))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the project: %w", err)
	}
	text := "# Outline\n\n" + strings.Join(lines, "\n") + "\n"
	if err := a.project.WriteFile(workspace.Folder+"/outline.md", []byte(text), 0o666); err != nil {
		return fmt.Errorf("write outline: %w", err)
	}
	a.say("- wrote the outline of %d files", len(lines))
	return nil
}

// comment is the first comment line of a file, or "" when it begins with none.
func (a *agent) comment(path string) string {
	f, err := a.project.Open(path)
	if err != nil {
		return "" // an outline without the line is still one
	}
	defer func() { _ = f.Close() }()
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		line := strings.TrimSpace(scan.Text())
		if line == "" || strings.HasPrefix(line, "#!") {
			continue
		}
		for _, mark := range []string{"# ", "// "} {
			if text, ok := strings.CutPrefix(line, mark); ok {
				return text
			}
		}
		return ""
	}
	return ""
}
