package fault_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/dayclaude/dayclaude/internal/fault"
)

// kinds reads the kinds from the source, so that a new one is not forgotten.
func kinds(t *testing.T) []fault.Kind {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []fault.Kind
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Kind" {
			kind, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fault.Kind(kind))
		}
		return true
	})
	if len(all) == 0 {
		t.Fatal("no kinds found in fault.go")
	}
	return all
}

func TestExitCodesPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds(t) {
		row := fmt.Sprintf("\n| %d | `%s` | ", fault.ExitCode(fault.New(kind, "x")), kind)
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/exit-codes.md has no row that begins with %q", row)
		}
	}
}
