package daytona

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
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

// listSandboxes ignores filters that it does not know, as Daytona does.
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

	items := s.summaries(func(v *summary) bool {
		return keep(v) && (after == nil || compare(position{key(v), v.ID}, *after) > 0)
	})
	slices.SortFunc(items, func(a, b summary) int {
		return compare(position{key(&a), a.ID}, position{key(&b), b.ID})
	})
	var next *string
	if len(items) > limit {
		items = items[:limit]
		last := &items[limit-1]
		data, err := json.Marshal(position{key(last), last.ID})
		if err != nil {
			return err
		}
		cursor := base64.RawURLEncoding.EncodeToString(data)
		next = &cursor
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items, "nextCursor": next})
	return nil
}

// summaries copies the sandboxes that are not destroyed and that keep wants.
func (s *Server) summaries(keep func(*summary) bool) []summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []summary{}
	for _, b := range s.sandboxes {
		if b.DesiredState == stateDestroyed && b.State != stateError || !keep(&b.summary) {
			continue
		}
		items = append(items, s.view(b).summary)
	}
	return items
}

// filter returns the test that a query asks for.
func filter(query url.Values) (func(*summary) bool, error) {
	labels := map[string]string{}
	if text := query.Get("labels"); text != "" {
		if err := json.Unmarshal([]byte(text), &labels); err != nil {
			return nil, problemf(http.StatusBadRequest, "Invalid labels JSON format")
		}
	}
	oneOf := func(key, value string) bool {
		return len(query[key]) == 0 || slices.Contains(query[key], value)
	}
	return func(v *summary) bool {
		for name, value := range maps.All(labels) {
			if has, ok := v.Labels[name]; !ok || has != value {
				return false
			}
		}
		return strings.HasPrefix(v.ID, query.Get("id")) && strings.HasPrefix(v.Name, query.Get("name")) &&
			oneOf("states", string(v.State)) && oneOf("snapshots", v.Snapshot) &&
			oneOf("regionIds", v.Target) && oneOf("sandboxClasses", v.SandboxClass)
	}, nil
}

// sortKey returns the text to sort by.
func sortKey(name string) (func(*summary) string, error) {
	number := func(n int) string { return fmt.Sprintf("%010d", n) }
	moment := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.000000000") }
	switch name {
	case "", "createdAt":
		return func(v *summary) string { return moment(v.CreatedAt) }, nil
	case "lastActivityAt":
		return func(v *summary) string { return moment(v.LastActivityAt) }, nil
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
