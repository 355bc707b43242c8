package workspace

import (
	"time"

	"millrace/schema"
)

// A Trace is what a run went through, as a graph: its results, and the routing decisions between
// them. It is the run told in another way and holds nothing the run does not.
type Trace struct {
	SchemaVersion int           `json:"schema_version"`
	Run           string        `json:"run"`
	Item          schema.Key    `json:"item"`
	Generation    int           `json:"generation"`
	Plan          schema.Digest `json:"plan"`
	Graph         string        `json:"graph"`
	State         string        `json:"state"`
	End           string        `json:"end,omitempty"`
	Nodes         []TraceNode   `json:"nodes"`
	Edges         []TraceEdge   `json:"edges"`
}

// A TraceNode is one stage: its result, or that it is still to come (no outcome, no failure).
type TraceNode struct {
	Request   string                   `json:"request,omitempty"`
	Node      string                   `json:"node"`
	Stage     string                   `json:"stage,omitempty"`
	Outcome   string                   `json:"outcome,omitempty"`
	Class     string                   `json:"class,omitempty"`
	Failure   string                   `json:"failure_class,omitempty"`
	Message   string                   `json:"message,omitempty"`
	Artifacts map[string]schema.Digest `json:"artifacts,omitempty"`
	Tokens    *schema.Tokens           `json:"tokens,omitempty"`
	Started   time.Time                `json:"started_at,omitzero"`
	Ended     time.Time                `json:"ended_at,omitzero"`
	Waiting   string                   `json:"waiting,omitempty"` // what its agent waits for now; only a command that looks says it
}

// A TraceEdge is the decision taken after the node with index From; it led to the node with index
// Next, or, at -1, out of the graph to the terminal To.
type TraceEdge struct {
	From    int          `json:"from"`
	Next    int          `json:"next"`
	To      string       `json:"to"`
	Why     string       `json:"why"`
	Counter string       `json:"counter,omitempty"`
	Spawned []schema.Key `json:"spawned,omitempty"`
}

// TraceOf tells a run as a trace.
func TraceOf(r *schema.Run) Trace {
	t := Trace{
		SchemaVersion: schema.Version, Run: r.ID, Item: r.Item, Generation: r.Generation, Plan: r.Plan,
		Graph: r.Graph, State: r.State, End: r.End, Nodes: []TraceNode{}, Edges: []TraceEdge{},
	}
	for i, s := range r.Steps {
		t.Nodes = append(t.Nodes, TraceNode{
			Request: s.Request, Node: s.Node, Stage: s.Stage, Outcome: s.Outcome, Class: s.Class, Failure: s.Failure,
			Message: s.Message, Artifacts: s.Artifacts, Tokens: s.Tokens, Started: s.Started, Ended: s.Ended,
		})
		next := i + 1
		if next == len(r.Steps) && r.State == schema.RunEnded {
			next = -1
		}
		t.Edges = append(t.Edges, TraceEdge{From: i, Next: next, To: s.To, Why: s.Why, Counter: s.Counter, Spawned: s.Spawned})
	}
	if r.State != schema.RunEnded {
		t.Nodes = append(t.Nodes, TraceNode{Request: r.Request, Node: r.Node})
	}
	return t
}

// PutTrace adds the write of a run's trace; it goes with every PutRun that adds a step or ends the run.
func (m *Mutation) PutTrace(r *schema.Run) { m.PutJSON(TraceFile(r.ID), TraceOf(r)) }
