package recovery

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"millrace/schema"
	"millrace/workspace"
)

// fruitless gives an item another try whose incident has been planned to the end without any work that would take its
// place. It is told what planning said, and that happens once: the next time it waits for its operator.
func fruitless(v *workspace.View) (*workspace.Mutation, []workspace.Query) {
	for _, k := range v.Escalated() {
		it := v.Items[k]
		if it.State != schema.StateBlocked || it.Remedied != "" {
			continue
		}
		last := lastPlanned(v, it)
		if last == nil {
			continue
		}
		remedy, asks := remedy(v, last)
		if len(asks) > 0 {
			return nil, asks
		}
		it = it.Clone()
		it.Remedied = it.Raised
		why := fmt.Sprintf("planning of incident %s ended without work that takes its place: %s", it.Raised, remedy)
		m := &workspace.Mutation{By: name, Why: fmt.Sprintf("requeue %s: %s", k, why)}
		m.Requeue(v, it, schema.Note{By: name, What: "requeued", Why: why}, false)
		return m, nil
	}
	return nil, nil
}

// lastPlanned is what ended last of an incident and of all that was planned for it; nil while some of it has not
// ended, or when there is work of the item's own family among it.
func lastPlanned(v *workspace.View, it *schema.Item) *schema.Item {
	var last *schema.Item
	for _, k := range v.WorkOf(it.Raised) {
		w := v.Items[k]
		if k.Family == it.Family && k != it.Key() || !schema.Ended(w.State) {
			return nil
		}
		if last == nil || w.EndedSeq > last.EndedSeq {
			last = w
		}
	}
	return last
}

// remedy is what planning said at its end: how it ended, in whose words, and where more of it stands. The run has
// ended, so its file has to be asked for.
func remedy(v *workspace.View, last *schema.Item) (string, []workspace.Query) {
	said := fmt.Sprintf("%s is %s", last.Key(), last.State)
	if n := len(last.Notes); last.State == schema.StateCancelled && n > 0 {
		return said + because(last.Notes[n-1].Why), nil
	}
	if last.Run == "" {
		return said, nil
	}
	q := workspace.AskFile(workspace.RunFile(last.Run))
	a, read := v.Asked[q]
	if !read {
		return "", []workspace.Query{q}
	}
	var r schema.Run
	if a.Err != "" || json.Unmarshal(a.Data, &r) != nil || len(r.Steps) == 0 {
		return said, nil // thinned out, or no run of ours: how it ended is known all the same
	}
	step := r.Steps[len(r.Steps)-1]
	said += fmt.Sprintf(", %s ended with %s%s", step.Node, step.Outcome, because(step.Message))
	files := []string{}
	for _, file := range slices.Sorted(maps.Keys(step.Artifacts)) {
		files = append(files, path.Join(workspace.Folder, workspace.RequestDir(r.ID, step.Request), file))
	}
	if len(files) > 0 {
		said += "; read " + strings.Join(files, ", ")
	}
	return said, nil
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}
