package daytona

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxPage     = 200
	defaultPage = 100
)

// position is where a page ended; the cursor is its JSON in base64.
type position struct {
	Key string `json:"k"`
	ID  string `json:"i"`
}

// listSandboxes ignores filters that it does not know, as Daytona does. A
// sandbox that is being destroyed is still listed.
func (s *Server) listSandboxes(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	limit, err := pageSize(query)
	if err != nil {
		return err
	}
	keep, err := filter(query)
	if err != nil {
		return err
	}
	key, err := sortKey(query.Get("sort"))
	if err != nil {
		return err
	}
	direction, err := ordering(query.Get("order"))
	if err != nil {
		return err
	}
	compare := func(a, b position) int {
		return direction * cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.ID, b.ID))
	}
	var after *position
	if cursor := query.Get("cursor"); cursor != "" {
		data, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil || json.Unmarshal(data, &after) != nil || after == nil {
			return problemf(http.StatusBadRequest, "Invalid cursor")
		}
	}

	s.mu.Lock()
	var found []position
	for _, b := range s.sandboxes {
		at := position{key(&b.summary), b.ID}
		if keep(&b.summary) && (after == nil || compare(at, *after) > 0) {
			found = append(found, at)
		}
	}
	slices.SortFunc(found, compare)
	more := len(found) > limit
	found = found[:min(limit, len(found))]
	items := make([]summary, len(found))
	for i, at := range found {
		items[i] = s.view(s.sandboxes[at.ID]).summary
	}
	s.mu.Unlock()

	var next *string
	if more {
		data, err := json.Marshal(found[len(found)-1])
		if err != nil {
			return err
		}
		cursor := base64.RawURLEncoding.EncodeToString(data)
		next = &cursor
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items, "nextCursor": next})
	return nil
}

// filter returns the test that a query asks for.
func filter(query url.Values) (func(*summary) bool, error) {
	var tests []func(*summary) bool
	is := func(test func(*summary) bool) { tests = append(tests, test) }

	withErrored := query.Get("includeErroredDeleted") == "true"
	is(func(v *summary) bool {
		failed := v.State == stateError && v.DesiredState == stateDestroyed
		return v.State != stateDestroyed && (!failed || withErrored)
	})
	prefix := func(name string, of func(*summary) string) {
		if text := strings.ToLower(query.Get(name)); text != "" {
			is(func(v *summary) bool { return strings.HasPrefix(strings.ToLower(of(v)), text) })
		}
	}
	prefix("id", func(v *summary) string { return v.ID })
	prefix("name", func(v *summary) string { return v.Name })
	if text := query.Get("labels"); text != "" {
		labels := map[string]string{}
		if err := json.Unmarshal([]byte(text), &labels); err != nil {
			return nil, problemf(http.StatusBadRequest, "Invalid labels JSON format")
		}
		is(func(v *summary) bool {
			for name, value := range labels {
				if has, ok := v.Labels[name]; !ok || has != value {
					return false
				}
			}
			return true
		})
	}
	for _, state := range query["states"] {
		if !slices.Contains(states, state) {
			return nil, problemf(http.StatusBadRequest, "each value must be one of the following values: %s", strings.Join(states, ", "))
		}
	}
	oneOf := func(name string, of func(*summary) string) {
		if values := query[name]; len(values) > 0 {
			is(func(v *summary) bool { return slices.Contains(values, of(v)) })
		}
	}
	oneOf("states", func(v *summary) string { return string(v.State) })
	oneOf("snapshots", func(v *summary) string { return v.Snapshot })
	oneOf("regionIds", func(v *summary) string { return v.Target })
	oneOf("sandboxClasses", func(v *summary) string { return v.SandboxClass })
	flag := func(name string, of func(*summary) bool) {
		if query.Has(name) {
			want := query.Get(name) == "true"
			is(func(v *summary) bool { return of(v) == want })
		}
	}
	flag("isPublic", func(v *summary) bool { return v.Public })
	flag("isRecoverable", func(v *summary) bool { return v.Recoverable })
	ranges, err := within(query)
	tests = append(tests, ranges...)
	return func(v *summary) bool {
		for _, test := range tests {
			if !test(v) {
				return false
			}
		}
		return true
	}, err
}

// states are those that a list can be asked for: all but destroyed.
var states = strings.Fields(`creating restoring destroying started stopped starting stopping error build_failed
	pending_build building_snapshot unknown pulling_snapshot archived archiving resizing snapshotting forking pausing
	paused resuming`)

// within returns the tests of a query's ranges, whose ends belong to them.
func within(query url.Values) (tests []func(*summary) bool, err error) {
	number := func(name string, of func(*summary) int, sign int) {
		text := query.Get(name)
		if text == "" || err != nil {
			return
		}
		end, problem := strconv.Atoi(text)
		if problem != nil || end < 1 {
			err = problemf(http.StatusBadRequest, "%s must not be less than 1, %s must be an integer number", name, name)
		}
		tests = append(tests, func(v *summary) bool { return sign*cmp.Compare(of(v), end) >= 0 })
	}
	for name, of := range map[string]func(*summary) int{
		"Cpu":       func(v *summary) int { return v.CPU },
		"MemoryGiB": func(v *summary) int { return v.Memory },
		"DiskGiB":   func(v *summary) int { return v.Disk },
	} {
		number("min"+name, of, 1)
		number("max"+name, of, -1)
	}
	moment := func(name string, of func(*summary) time.Time, sign int) {
		text := query.Get(name)
		if text == "" || err != nil {
			return
		}
		end, problem := time.Parse(time.RFC3339, text)
		if problem != nil {
			err = problemf(http.StatusBadRequest, "%s must be a Date instance", name)
		}
		tests = append(tests, func(v *summary) bool { return sign*of(v).Compare(end) >= 0 })
	}
	for name, of := range map[string]func(*summary) time.Time{
		"createdAt": func(v *summary) time.Time { return v.CreatedAt },
		"lastEvent": func(v *summary) time.Time { return v.LastActivityAt },
	} {
		moment(name+"After", of, 1)
		moment(name+"Before", of, -1)
	}
	return tests, err
}

// sortKey returns the text to sort by.
func sortKey(name string) (func(*summary) string, error) {
	number := func(n int) string { return fmt.Sprintf("%010d", n) }
	moment := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.000000000") }
	switch name {
	case "", "lastActivityAt":
		return func(v *summary) string { return moment(v.LastActivityAt) }, nil
	case "createdAt":
		return func(v *summary) string { return moment(v.CreatedAt) }, nil
	case "name":
		return func(v *summary) string { return v.Name }, nil
	case "cpu":
		return func(v *summary) string { return number(v.CPU) }, nil
	case "memoryGib":
		return func(v *summary) string { return number(v.Memory) }, nil
	case "diskGib":
		return func(v *summary) string { return number(v.Disk) }, nil
	}
	return nil, problemf(http.StatusBadRequest, "sort must be one of the following values: name, cpu, memoryGib, diskGib, lastActivityAt, createdAt")
}

// ordering is 1 for ascending and -1 for descending, which is what is meant if
// nothing is said.
func ordering(direction string) (int, error) {
	switch direction {
	case "asc":
		return 1, nil
	case "", "desc":
		return -1, nil
	}
	return 0, problemf(http.StatusBadRequest, "order must be one of the following values: asc, desc")
}

func pageSize(query url.Values) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, problemf(http.StatusBadRequest, "limit must not be less than 1, limit must not be greater than %d", maxPage)
	}
	return n, nil
}
