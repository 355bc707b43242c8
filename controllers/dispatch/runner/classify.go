package runner

import (
	"regexp"
	"strconv"
	"strings"

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
	{schema.FailAuth, []string{"unauthorized", "authentication", "invalid api key", "invalid_api_key", "no api key", "not logged in", "please run /login", "log in again"}},
	{schema.FailProvider, []string{"overloaded", "service unavailable", "internal server error", "bad gateway", "gateway timeout"}},
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
