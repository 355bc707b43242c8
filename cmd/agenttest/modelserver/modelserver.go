// Package modelserver is a model provider on the loopback interface, scripted by a test: it speaks OpenAI's Responses
// and Chat Completions and Anthropic's Messages as far as coding agents use them, and fails as those providers do.
package modelserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// A Call is one request for an answer of the model.
type Call struct {
	API     string // "responses", "chat" or "messages"
	Model   string
	Key     string   // as it was sent: bearer token or x-api-key
	Effort  string   // reasoning effort as it was sent; "": none
	Prompt  string   // what the user said last: no tool result, nothing that the agent adds by itself
	Results []string // what tools gave since then, oldest first
	N       int      // calls by this API so far, from 1
	Tools   []string // names of those offered
	Header  http.Header
	Body    json.RawMessage
}

// Usage is what an answer costs, in tokens; Input is all of it, cached included. The zero value means 1000 of input,
// 400 of it cached, and 50 of output, 10 of it reasoning.
type Usage struct{ Input, Cached, CacheWrite, Output, Reasoning int64 }

// A Reply is how the model answers a call.
type Reply struct {
	Run        string         // shell command that the agent is to run with its own shell tool
	Tool       string         // another tool of the agent's to be called ("namespace/name" by Responses), with …
	Args       map[string]any // … these arguments
	Say        string         // text; what is answered when neither Run nor Tool is set
	Usage      Usage
	NoUsage    bool            // say nothing of tokens
	Status     int             // fail with this HTTP status, and a body as the provider words it
	RetryAfter time.Duration   // header of a failure
	Stall      time.Duration   // silence before the answer; ends early when the client goes
	Hold       <-chan struct{} // no answer before it is closed, or the client goes
	Cut        bool            // reset the connection in the middle of the answer
}

// A Script is the model: it answers calls, in the order in which they come.
type Script func(Call) Reply

// Say is a model that always says the same.
func Say(text string) Script { return Steps(Reply{Say: text}) }

// Steps is a model that answers the n-th call of an API with the n-th reply, and all later ones with the last.
func Steps(replies ...Reply) Script {
	return func(c Call) Reply { return replies[min(c.N, len(replies))-1] }
}

// A Server is a running provider.
type Server struct {
	http   *httptest.Server
	script Script

	mu    sync.Mutex
	calls []Call
	count map[string]int
	other []string
}

// Start runs a provider until the test ends.
func Start(t testing.TB, script Script) *Server {
	s := &Server{script: script, count: map[string]int{}}
	s.http = httptest.NewServer(s)
	t.Cleanup(func() {
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// URL is the address of the provider, without any version in its path.
func (s *Server) URL() string { return s.http.URL }

// Calls are those that the script has answered or is about to.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// Others are the requests for anything that no provider scripted here has, as "METHOD path".
func (s *Server) Others() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.other...)
}

// take counts a call and asks the script. One call after the other: a script may count for itself.
func (s *Server) take(c Call) (int, Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[c.API]++
	c.N = s.count[c.API]
	s.calls = append(s.calls, c)
	return c.N, s.script(c)
}
