package daytona_test

import (
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	suite(t, func(b *bench, id string) {
		b.run(id, `mkdir -p 'tree/a b' tree/-c; cd tree
printf 'one\r\ntwo [x]\nthree\n' >'a b/one.txt'; printf 'two [x]' >./-c/two.txt; printf 'two [x]\0' >binary; ln -s two loop
printf 'two' >"new
line.txt"`)
		get := func(path string, status int, want string) {
			b.Helper()
			if r := b.toolbox("GET", id, path, nil); r.status != status || strings.TrimSpace(string(r.body)) != want {
				b.Errorf("%s: %d %s; want %d %s", path, r.status, r.body, status, want)
			}
		}
		get("/files/search?path=tree&pattern=*.txt", 200, `{"files":["tree/-c/two.txt","tree/a b/one.txt","tree/new\nline.txt"]}`)
		get("/files/search?path=./tree/&pattern=[ab]*", 200, `{"files":["tree/a b","tree/binary"]}`)
		get("/files/search?path=none&pattern=*", 200, `{"files":[]}`)
		get("/files/search?path=-delete&pattern=*", 200, `{"files":[]}`)
		get("/files/search?path=tree", 400, "")

		get("/files/find?path=tree&pattern=o+[x]", 200, `[{"file":"tree/-c/two.txt","line":1,"content":"two [x]"},{"file":"tree/a b/one.txt","line":2,"content":"two [x]"}]`)
		get("/files/find?path=tree&pattern=one", 200, `[{"file":"tree/a b/one.txt","line":1,"content":"one"}]`)
		get("/files/find?path=tree&pattern=o%0At", 200, `[]`)
		get("/files/find?path=none&pattern=x", 200, `[]`)
		get("/files/find?pattern=x", 400, "")

		replace := func(request object) reply { return b.toolbox("POST", id, "/files/replace", request) }
		b.want(replace(object{"files": []string{"tree/a b/one.txt", "tree/none", "tree/-c"}, "pattern": "[x]", "newValue": "y&\\1"}), 200,
			`[{"file":"tree/a b/one.txt","success":true},{"file":"tree/none","success":false,"error":`)
		b.want(b.toolbox("GET", id, "/files/download?path=tree/a%20b/one.txt", nil), 200, "one\r\ntwo y&\\1\nthree\n")
		b.want(replace(object{"files": []string{"tree/binary"}, "pattern": "t", "newValue": strings.Repeat("x", 1<<19)}), 200, `"success":true`)
		b.want(replace(object{"files": []string{"tree/binary"}, "pattern": "x", "newValue": strings.Repeat("x", 1<<19)}), 200, `"error":"tree/binary is larger`)
		b.want(replace(object{"files": []string{"tree/binary"}, "pattern": ""}), 400, "")
	})
}

func TestPorts(t *testing.T) {
	suite(t, func(b *bench, id string) {
		b.serveEcho(id)
		b.want(b.toolbox("GET", id, "/port/8080/in-use", nil), 200, `{"isInUse":true}`)
		b.want(b.toolbox("GET", id, "/port", nil), 200, `"ports":[`)
		for _, port := range []string{"80", "x"} {
			if r := b.toolbox("GET", id, "/port/"+port+"/in-use", nil); r.status != 400 || len(r.body) != 0 {
				b.Errorf("%s: %d %s", port, r.status, r.body)
			}
		}
	})
}
