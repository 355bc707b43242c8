package runner

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/schema"
)

// A claudeEvent is a line of claude's standard output; only a result has the embedded one.
type claudeEvent struct {
	Type    string
	Subtype string
	Session string  `json:"session_id"`
	Error   string  `json:"error"`          // of an answer or a retry, as claude names it
	Status  int     `json:"error_status"`   // of a retry; 0: there was no answer
	Attempt int     `json:"attempt"`        // of a retry, from 1
	Delay   float64 `json:"retry_delay_ms"` // before a retry
	Limit   struct {
		Status   string
		ResetsAt int64 // Unix time
	} `json:"rate_limit_info"`
	claudeResult
}

// A claudeResult is the end of a turn. A process has several when something woke it up again.
type claudeResult struct {
	Subtype string `json:"-"`
	IsError bool   `json:"is_error"` // whatever the subtype
	Text    string `json:"result"`
	Errors  []string
	Status  int                   `json:"api_error_status"`
	Failure string                `json:"api_error"`
	Denials []claudeDenial        `json:"permission_denials"`
	All     map[string]claudeUsed `json:"modelUsage"`                    // by model; newer versions count the whole session
	Used    map[string]claudeUsed `json:"model_usage_since_last_result"` // newer versions only
}

type claudeDenial struct {
	Tool  string         `json:"tool_name"`
	Input map[string]any `json:"tool_input"`
}

// claudeUsed is what one model cost. The result's own usage leaves out what subagents used.
type claudeUsed struct {
	InputTokens, OutputTokens, CacheReadInputTokens, CacheCreationInputTokens int64

	ThinkingTokens *int64
	CostUSD        float64
	CostBasis      string // "unknown": a guess for a model that claude does not know
}

// claudeTrouble is what a provider did in place of answering.
type claudeTrouble struct {
	class, text string
	wait        time.Duration // that it asked for
}

func (c *claude) event(line []byte) heard {
	var e claudeEvent
	if err := json.Unmarshal(line, &e); err != nil && e.Type == "" {
		return heard{keep: true}
	}
	h := heard{keep: true, progress: e.Type != ""}
	switch {
	case e.Type == "system" && e.Subtype == "api_retry":
		h.progress, c.trouble = false, e.retry()
	case e.Type == "rate_limit_event":
		if h.progress = false; e.Limit.Status == "rejected" {
			c.trouble = claudeTrouble{schema.FailRateLimited, "the limit of the account is reached", max(0, time.Until(time.Unix(e.Limit.ResetsAt, 0)))}
		}
	case e.Type == "assistant" && e.Error != "": // it speaks for itself
		if h.progress = false; c.trouble.class == "" {
			c.trouble = claudeTrouble{class: claudeClass(e.Error)}
		}
	case e.Type == "assistant":
		c.answered, c.trouble = true, claudeTrouble{}
	case e.Type == "result":
		e.claudeResult.Subtype = e.Subtype
		c.results = append(c.results, e.claudeResult)
	}
	err := c.job.remember(func(s *schema.Session) {
		if e.Session != "" {
			s.ID = e.Session
		}
		s.Waiting = c.trouble.text
		if e.Type == "result" { // whoever finds the request lost counts it
			used, _ := c.spent()
			s.Tokens = c.inAll(used)
		}
	})
	if err != nil {
		c.remark(err.Error())
	}
	return h
}

// retry is what a retry tells. A wait that is longer than claude's own, half a second doubled each time, is the
// provider's.
func (e *claudeEvent) retry() claudeTrouble {
	t := claudeTrouble{class: schema.FailNetwork, text: "the provider cannot be reached"}
	if e.Status != 0 {
		t.class, t.text = statusClass(e.Status), fmt.Sprintf("the provider answers with status %d", e.Status)
	}
	delay := time.Duration(e.Delay * float64(time.Millisecond))
	t.text += fmt.Sprintf("; claude tries for the %d. time again in %v", e.Attempt, delay.Round(time.Second/10))
	if own := 500 * time.Millisecond << min(max(e.Attempt-1, 0), 6); delay > own*3/2 {
		t.wait = delay
	}
	return t
}

// claudeClass is the failure class of what claude calls an error.
func claudeClass(name string) string {
	switch name {
	case "authentication_failed", "billing_error", "oauth_org_not_allowed": // somebody has to look after the account
		return schema.FailAuth
	case "rate_limit":
		return schema.FailRateLimited
	case "overloaded", "server_error":
		return schema.FailProvider
	}
	return ""
}

func (c *claude) verdict(e ended) verdict {
	v := verdict{exit: schema.ExitCompleted, finalIn: schema.FinalFile}
	v.tokens, v.cost = c.spent()
	var last claudeResult
	if len(c.results) > 0 {
		last = c.results[len(c.results)-1]
	}
	switch {
	case len(c.results) == 0 || last.IsError || last.Subtype != "success" || !e.status.Exited() || e.status.ExitStatus() != 0:
		c.failed(&v, e, last)
	default:
		v.final, v.blocked = last.Text, c.denied()
	}
	v.detail = c.remarks.behind(v.detail)
	return v
}

// failed says what became of a claude whose last turn did not end well. A success that is an error, too, is none.
func (c *claude) failed(v *verdict, e ended, last claudeResult) {
	v.exit, v.failure = schema.ExitFailed, schema.FailExit
	said := strings.Join(append(slices.Clone(last.Errors), last.Text), " ")
	switch {
	case e.stopped != "": // it is known why; what it says of it is an error of its own
		v.failure, v.detail, said = c.trouble.class, c.trouble.text, ""
		v.retryAfter = schema.Duration(c.trouble.wait)
	case len(c.results) == 0:
		said = c.trouble.text
		if said == "" {
			said = lastLine(filepath.Join(c.job.dir, schema.StderrFile))
		}
		v.failure, v.retryAfter = c.trouble.class, schema.Duration(c.trouble.wait)
		v.detail = "claude was interrupted: it " + e.String() + " without a result"
	case c.resumed != "" && !c.answered && strings.Contains(said, "No conversation found"): // another request begins anew
		v.failure, v.detail = schema.FailNotStarted, "claude could not go on with its session"
		if err := c.job.remember(func(s *schema.Session) { s.ID = "" }); err != nil {
			c.remark(err.Error())
		}
	case last.Subtype == "error_max_turns":
		v.detail = fmt.Sprintf("claude has spent the turns that it was given (max_turns %d)", c.job.request.MaxTurns)
	default:
		v.failure, v.retryAfter = c.class(last), schema.Duration(c.trouble.wait)
		v.detail = "claude " + e.String()
	}
	if v.failure == "" {
		v.failure = schema.FailExit
	}
	if said = strings.TrimSpace(said); said != "" {
		v.detail += ": " + said
	}
}

// class is the failure class of a turn that ended in an error: by what the provider said, or else by what went before.
func (c *claude) class(last claudeResult) string {
	switch {
	case statusClass(last.Status) != "":
		return statusClass(last.Status)
	case last.Failure == "connection_failed":
		return schema.FailNetwork
	case c.trouble.class != "":
		return c.trouble.class
	case last.Status == 0 && last.IsError:
		return textClass(last.Text)
	}
	return ""
}

// subject is the tool and what it was to work on.
func (d claudeDenial) subject() string {
	for _, field := range []string{"command", "file_path", "notebook_path", "url", "query"} {
		if value, ok := d.Input[field].(string); ok {
			return fmt.Sprintf("%s %.120q", d.Tool, value)
		}
	}
	return d.Tool
}

// denied lists what the agent was not allowed to do; "": nothing. Its own word does not count then: it ends in success
// all the same.
func (c *claude) denied() string {
	var what []string
	for _, r := range c.results {
		for _, d := range r.Denials {
			if text := d.subject(); !slices.Contains(what, text) {
				what = append(what, text)
			}
		}
	}
	if len(what) == 0 {
		return ""
	}
	if more := len(what) - 5; more > 0 {
		what = append(what[:5], fmt.Sprintf("%d more", more))
	}
	permission := c.job.request.Permission
	switch {
	case permission != "" && permission != "maximum":
	case os.Geteuid() == 0:
		permission = "elevated, as root"
	default:
		permission = "maximum"
	}
	return fmt.Sprintf("the agent was denied what its permission (%s) does not cover: %s", permission, strings.Join(what, ", "))
}

// spent is what this process used and cost, subagents included; nil: unknown.
func (c *claude) spent() (*schema.Tokens, *schema.Cost) {
	var used []claudeUsed
	add := func(models map[string]claudeUsed) {
		for _, u := range models {
			used = append(used, u)
		}
	}
	for i, r := range c.results {
		if r.Used != nil {
			add(r.Used)
		} else if i == len(c.results)-1 {
			add(r.All) // of the process
		}
	}
	var input, read, write, output int64
	var reasoning *int64
	cost := &schema.Cost{Reported: true}
	for _, u := range used {
		input, output = input+u.InputTokens, output+u.OutputTokens
		read, write = read+u.CacheReadInputTokens, write+u.CacheCreationInputTokens
		if u.ThinkingTokens != nil {
			sum := *u.ThinkingTokens
			if reasoning != nil {
				sum += *reasoning
			}
			reasoning = &sum
		}
		if cost != nil {
			cost.USD += u.CostUSD
		}
		if u.CostBasis == "unknown" {
			cost = nil
		}
	}
	if len(c.results) == 0 || c.answered && input+read+write+output == 0 {
		return nil, nil // who answers uses something
	}
	return &schema.Tokens{Input: &input, CachedRead: &read, CacheWrite: &write, Output: &output, Reasoning: reasoning}, cost
}

// inAll is what the session has used with what it had used before this process.
func (c *claude) inAll(used *schema.Tokens) *schema.Tokens {
	if c.resumed == "" || used == nil {
		return used
	}
	return used.Plus(c.job.request.Session.Tokens)
}
