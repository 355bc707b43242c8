package runner

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"millrace/schema"
)

// statusClass is the failure class of a provider's HTTP status; "": that is no trouble of the runner's.
func statusClass(status int) string {
	switch {
	case status == 401 || status == 403:
		return schema.FailAuth
	case status == 429:
		return schema.FailRateLimited
	case status >= 500 && status < 600:
		return schema.FailProvider
	}
	return ""
}

var statusInText = regexp.MustCompile(`(?i)\b(?:status|code|error|http)[^0-9a-z]{0,3}(401|403|429|5[0-9][0-9])\b|\b(401|403|429|5[0-9][0-9]) (?:unauthorized|forbidden|too many|internal|bad gateway|service|gateway)`)

// troubles are words in what agents say of a failing provider, in the order in which they count.
var troubles = []struct {
	class string
	words []string
}{
	{schema.FailRateLimited, []string{"rate limit", "rate_limit", "too many requests", "usage limit", "quota"}},
	{schema.FailAuth, []string{"unauthorized", "authentication", "invalid api key", "invalid_api_key", "no api key", "not logged in", "please run /login", "log in again",
		"missing environment variable"}},
	{schema.FailProvider, []string{"overloaded", "service unavailable", "internal server error", "bad gateway", "gateway timeout", "experiencing high demand",
		"at capacity"}},
	{schema.FailNetwork, []string{"econnrefused", "connection refused", "enotfound", "getaddrinfo", "eai_again", "dns error", "econnreset",
		"connection reset", "connection error", "error sending request", "fetch failed", "waiting for network", "stream disconnected",
		"socket hang up", "network error", "unable to connect"}},
}

// textClass is the failure class of what an agent says of its provider, by the HTTP status in it or else by its words;
// "": nothing that is known.
func textClass(text string) string {
	if m := statusInText.FindStringSubmatch(text); m != nil {
		status, _ := strconv.Atoi(m[1] + m[2]) // one of them, of digits
		return statusClass(status)
	}
	lower := strings.ToLower(text)
	for _, t := range troubles {
		for _, word := range t.words {
			if strings.Contains(lower, word) {
				return t.class
			}
		}
	}
	return ""
}

var (
	againAt = regexp.MustCompile(`(?i)try again at ((?:[a-z]{3} [0-9]{1,2}(?:st|nd|rd|th), [0-9]{4} )?[0-9]{1,2}:[0-9]{2} [ap]m)\b`)
	ordinal = regexp.MustCompile(`(?i)([0-9])(?:st|nd|rd|th),`)
)

// retryAt is how long it is until the time of the local clock at which an agent says that its provider will listen
// again: "9:20 PM", or "Nov 23rd, 2026 9:30 PM". 0: it does not say.
func retryAt(text string, now time.Time) time.Duration {
	m := againAt.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	said := ordinal.ReplaceAllString(strings.ToUpper(m[1]), "$1,")
	if at, err := time.ParseInLocation("Jan 2, 2006 3:04 PM", said, now.Location()); err == nil {
		return max(0, at.Sub(now))
	}
	at, err := time.ParseInLocation("2006-01-02 3:04 PM", now.Format("2006-01-02 ")+said, now.Location())
	if err != nil {
		return 0
	}
	if at.Before(now) {
		at = at.AddDate(0, 0, 1)
	}
	return at.Sub(now)
}

var retryIn = regexp.MustCompile(`(?i)(?:retry|try again|reset)[a-z ]{0,20}(?:in|after):? ?((?:[0-9.]+(?:ms|s|m|h))+)`)

// retryAfter is how long a provider says to wait, where it says so in words.
func retryAfter(text string) schema.Duration {
	m := retryIn.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	d, _ := time.ParseDuration(m[1]) // else unknown
	return schema.Duration(d)
}

// complaints are the beginning of what a program says on its standard error.
type complaints []byte

// complaintsCap is how much of them is kept: what comes first is the cause, and errors of programs are short.
const complaintsCap = 4 << 10

// hear reads a piece of it, which is no progress.
func (c *complaints) hear(_ string, text []byte) (progress bool) {
	*c = append(*c, text[:min(len(text), complaintsCap-len(*c))]...)
	return false
}

// firstError is the line with which a program's errors begin: the first that looks like one, else the last of all.
func firstError(text string) string {
	last := ""
	for line := range strings.Lines(strings.ToValidUTF8(text, "?")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(strings.ToLower(line), "error") {
			return line
		}
		if line != "" {
			last = line
		}
	}
	return last
}
