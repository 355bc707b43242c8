package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"millrace/assets"
	"millrace/schema"
	"millrace/schema/compile"
	"millrace/schema/document"
)

// gitignore is what init writes into the workspace folder.
const gitignore = `# Git tracks the operator's half of the workspace: configuration, declarations, workflow assets.
# The rest belongs to the runtime.
/*
!/.gitignore
!/millrace.cue
!/millrace.yaml
!/millrace.json
!/millrace.toml
!/intake/
!/modes/
!/graphs/
!/stages/
!/families/
!/entrypoints/
!/skills/
!/outline.md
`

// InitOptions say how to initialise.
type InitOptions struct {
	Mode string           // default mode of the starter configuration; "" keeps the built-in default
	Now  func() time.Time // nil: the wall's clock
}

// An InitReport says what Init did. Paths are relative to the workspace folder, sorted.
type InitReport struct {
	Dir     string       // absolute path of the workspace folder
	New     bool         // there was no workspace before
	Created []string     // files made
	Kept    []string     // files that were there with other content, and stay as they are
	Held    []schema.Key // declarations older than the journal, which wait for `queue admit`
}

// Baseline is the manifest of the embedded assets as deployed: state/baseline.json.
type Baseline struct {
	SchemaVersion int                      `json:"schema_version"`
	Files         map[string]schema.Digest `json:"files"`
}

// Init makes a workspace in a project, or completes one: folders, .gitignore, assets and a starter
// configuration where they are missing. It never overwrites. A workspace whose journal is new holds
// every declaration that git already tracks, so that a fresh clone does not run all its history.
func Init(project string, opt InitOptions) (rep InitReport, err error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	w, made, err := Create(project)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			return rep, fmt.Errorf("%w: Millrace must be allowed to write %s", err, project)
		}
		return rep, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	root, err := os.OpenRoot(w.Dir)
	if err != nil {
		return rep, fmt.Errorf("open workspace: %w", err)
	}
	defer root.Close() //nolint:errcheck // every file made through it was closed with its own error
	rep.Dir, rep.New = w.Dir, made
	files := assets.Files()
	managed := make(map[string]schema.Digest, len(files))
	for name, data := range files {
		managed[name] = schema.DigestOf(data)
	}
	files[".gitignore"] = []byte(gitignore)
	files[IntakeDir+"/.gitkeep"] = nil // a checkout that removes the last declaration leaves the folder
	if name, data := starter(root, opt.Mode); name != "" {
		files[name] = data
	}
	if err := deploy(root, files, &rep); err != nil {
		return rep, err
	}
	if _, err := w.ReadFile(Manifest, 1<<30); err == nil {
		return rep, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return rep, fmt.Errorf("read %s: %w", Manifest, err)
	}
	families, err := lifecycleFolders(w, root, opt.Mode)
	if err != nil {
		return rep, err
	}
	if rep.Held, err = olderThanJournal(w, families); err != nil {
		return rep, err
	}
	_, err = w.Transact(context.Background(), func(*State) (*Mutation, error) {
		m := &Mutation{By: "init", Why: fmt.Sprintf("%d assets deployed", len(managed))}
		m.PutJSON(Manifest, Baseline{schema.Version, managed})
		if len(rep.Held) > 0 {
			m.Why += fmt.Sprintf(", %d declarations older than this workspace held", len(rep.Held))
			m.PutJSON(HoldFile, schema.Hold{SchemaVersion: schema.Version, Since: opt.Now().UTC(), Keys: rep.Held})
		}
		return m, nil
	})
	return rep, err
}

// starter is the configuration to begin with, when there is none under any name.
func starter(root *os.Root, mode string) (string, []byte) {
	for _, name := range ConfigNames {
		if _, err := root.Lstat(name); err == nil {
			return "", nil
		}
	}
	line := "\t// default_mode: \"default_codex\""
	if mode != "" {
		line = fmt.Sprintf("\tdefault_mode: %q", mode)
	}
	return ConfigNames[0], fmt.Appendf(nil, starterText, line)
}

const starterText = `// The configuration of Millrace. 'millrace config show' prints every field with the value it has,
// 'millrace modes list' the modes, 'millrace doctor' what is wrong.
runtime: {
%s
}

// A program of your own as the agent, for every mode that names no runner (such as "standard"). The prompt
// comes on its standard input; its last line says how it ended: ### OUTCOME.
// runners: {
//	default_runner: "mine"
//	mine: {adapter: "command", run: ["./agent.sh"]}
// }
`

// deploy makes the files that are missing.
func deploy(root *os.Root, files map[string][]byte, rep *InitReport) error {
	for name, data := range files {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return fmt.Errorf("make folder of %s: %w", name, full(err))
		}
		there, err := root.ReadFile(name)
		switch {
		case err == nil && string(there) == string(data):
		case err == nil:
			rep.Kept = append(rep.Kept, name)
		case !errors.Is(err, fs.ErrNotExist):
			rep.Kept = append(rep.Kept, name) // a link, a folder: a person put it there
		default:
			if err := placeFile(root, name, data); err != nil {
				return fmt.Errorf("create %s: %w", name, full(err))
			}
			rep.Created = append(rep.Created, name)
		}
	}
	slices.Sort(rep.Created)
	slices.Sort(rep.Kept)
	return nil
}

// placeFile writes a file that appears whole or not at all, and only where nothing is.
func placeFile(root *os.Root, name string, data []byte) error {
	temp := tempName(name)
	if err := root.WriteFile(temp, data, 0o644); err != nil {
		return err
	}
	err := root.Link(temp, name)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	} else if err != nil { // no hard links here
		if _, there := root.Lstat(name); errors.Is(there, fs.ErrNotExist) {
			return root.Rename(temp, name)
		}
	}
	return errors.Join(err, root.Remove(temp))
}

// lifecycleFolders makes the folders of every family, so that they can be watched and dropped into.
func lifecycleFolders(w *Workspace, root *os.Root, mode string) (map[string]*schema.Family, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == StateDir || name == RunsDir || name == IntakeDir):
			return fs.SkipDir
		case d.IsDir() || !d.Type().IsRegular() || !compile.IsInput(name):
			return nil
		}
		data, err := w.ReadFile(name, schema.MaxFile)
		files[name] = data
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read assets: %w", err)
	}
	plan := compile.Compile(compile.Source{Mode: mode, Files: files}).Plan
	if plan == nil { // what is there may be broken; the baseline is not
		plan = compile.Compile(compile.Source{Files: assets.Files()}).Plan
	}
	if plan == nil {
		return nil, errors.New("compile the embedded assets: they are broken; this is an error in Millrace")
	}
	for _, fam := range plan.Families {
		folders := slices.Collect(maps.Values(fam.Folders))
		if len(fam.Intake) > 0 && fam.Dropped() {
			folders = append(folders, path.Join(IntakeDir, fam.Intake[0])) // people are told to drop files there
		}
		for _, folder := range folders {
			if err := root.MkdirAll(folder, 0o755); err != nil {
				return nil, fmt.Errorf("make folder %s: %w", folder, full(err))
			}
		}
	}
	return plan.Families, nil
}

// olderThanJournal lists what is declared in files that git tracks. Where git does not answer (not
// installed, or somebody else's repository) every declaration counts as tracked: better held than run
// again.
func olderThanJournal(w *Workspace, families map[string]*schema.Family) ([]schema.Key, error) {
	repo, ok := findRepository(w.Project)
	if !ok {
		return nil, nil
	}
	names, err := repo.tracked(context.Background(), filepath.Join(w.Dir, IntakeDir))
	if err != nil {
		names, err = declared(filepath.Join(w.Dir, IntakeDir))
	}
	if err != nil || len(names) == 0 {
		return nil, err
	}
	registry, err := document.NewRegistry(families)
	if err != nil {
		return nil, fmt.Errorf("define document kinds: %w", err)
	}
	held := map[schema.Key]bool{}
	for _, name := range names {
		if slices.ContainsFunc(strings.Split(name, "/"), ignored) {
			continue
		}
		data, err := w.ReadFile(path.Join(IntakeDir, name), schema.MaxFile)
		if err != nil {
			continue // gone or unreadable: nothing of it can be admitted either
		}
		for _, d := range registry.Parse(path.Join(IntakeDir, name), data).Docs {
			if k := DeclaredKey(d.Doc); k.Family != schema.KindControl && k.Family != schema.KindApproval {
				held[k] = true
			}
		}
	}
	return sortedKeys(held), nil
}

func declared(dir string) (names []string, err error) {
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	return names, err
}
