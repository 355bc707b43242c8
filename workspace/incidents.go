package workspace

import "millrace/schema"

// incidents index the items by the incident that they have to do with.
type incidents struct {
	raised map[string]map[schema.Key]bool // incident → items that are blocked by it
	work   map[string]map[schema.Key]bool // incident → itself and what was planned for it
}

func newIncidents() incidents {
	return incidents{raised: map[string]map[schema.Key]bool{}, work: map[string]map[schema.Key]bool{}}
}

func (n *incidents) add(it *schema.Item) {
	if it.Raised != "" && it.State == schema.StateBlocked {
		add(n.raised, it.Raised, it.Key())
	}
	if id := it.Lineage.IncidentID; id != "" {
		add(n.work, id, it.Key())
	}
}

func (n *incidents) drop(it *schema.Item) {
	if it.Raised != "" && it.State == schema.StateBlocked {
		drop(n.raised, it.Raised, it.Key())
	}
	if id := it.Lineage.IncidentID; id != "" {
		drop(n.work, id, it.Key())
	}
}

// RaisedBy lists the items that are blocked by an incident, sorted: its first tasks take their place.
func (s *State) RaisedBy(incident string) []schema.Key {
	return sortedKeys(s.incidents.raised[incident])
}

// Escalated lists the items that are blocked by whatever incident, sorted.
func (s *State) Escalated() []schema.Key {
	all := map[schema.Key]bool{}
	for _, keys := range s.incidents.raised {
		for k := range keys {
			all[k] = true
		}
	}
	return sortedKeys(all)
}

// WorkOf lists an incident and what was planned for it, sorted.
func (s *State) WorkOf(incident string) []schema.Key { return sortedKeys(s.incidents.work[incident]) }
