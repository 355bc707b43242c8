package workspace

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"syscall"

	"millrace/schema"
)

// lanes compares the running runs of each plane with the widest plan that one of them runs under.
func (v *verifier) lanes() []Finding {
	running, allowed := map[string]int{}, map[string]int{}
	for _, r := range v.state.ActiveRuns() {
		if r.State != schema.RunRunning {
			continue
		}
		running[r.Plane]++
		for _, d := range []schema.Digest{r.Plan, v.state.Control.Plan} {
			var plan schema.Plan
			raw, err := readAll(v.disk, PlanPath(d), maxRecord)
			if err == nil && json.Unmarshal(raw, &plan) == nil {
				allowed[r.Plane] = max(allowed[r.Plane], plan.Lanes[r.Plane])
			}
		}
	}
	var found []Finding
	for _, plane := range slices.Sorted(maps.Keys(running)) {
		if n := allowed[plane]; n > 0 && running[plane] > n {
			found = append(found, Finding{LawLanes, "", fmt.Sprintf("%d runs of plane %s run, its plan has %d lanes", running[plane], plane, n), repairReport})
		}
	}
	return found
}

// spent lists the requests for which a stage was started.
func (v *verifier) spent() ([]string, error) {
	var dirs []string
	for run, err := range v.folders(RunsDir) {
		if err != nil {
			return nil, err
		}
		for dir, err := range v.folders(run) {
			if err != nil {
				return nil, err
			}
			if started, err := look(v.disk, path.Join(dir, schema.StartedFile)); err == nil && started.kind != absent {
				dirs = append(dirs, dir) // what cannot be looked at is nobody's proof
			}
		}
	}
	return dirs, nil
}

// paid holds the spent requests to have been on record before.
func (v *verifier) paid(spent []string) []Finding {
	var found []Finding
	for _, dir := range spent {
		if v.paths[path.Join(dir, schema.RequestFile)] == nil {
			found = append(found, Finding{LawPaid, dir, "it was started, but no record asks for it", repairReport})
		}
	}
	return found
}

// folders goes over the folders below dir.
func (v *verifier) folders(dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		entries, err := v.disk.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			yield("", fmt.Errorf("list %s: %w", dir, err))
			return
		}
		for _, e := range entries {
			if e.IsDir() && !yield(path.Join(dir, e.Name()), nil) {
				return
			}
		}
	}
}
