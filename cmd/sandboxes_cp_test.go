package cmd

import "testing"

func TestInSandbox(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string][2]string{
		"box:a":             {"box", "a"},
		"box:":              {"box", ""},
		"box:a:b":           {"box", "a:b"},
		"r_1:/a":            {"r_1", "/a"},
		"octo/shop#42:a/b":  {"octo/shop#42", "a/b"},
		"octo/shop#42:../x": {"octo/shop#42", "../x"},
		"https://github.com/octo/shop/issues/42:a":        {"https://github.com/octo/shop/issues/42", "a"},
		"https://ghe.example:8443/octo/shop/issues/42:/a": {"https://ghe.example:8443/octo/shop/issues/42", "/a"},
	} {
		if sandbox, path, ok := inSandbox(arg); !ok || sandbox != want[0] || path != want[1] {
			t.Errorf("%s: %q, %q, %v", arg, sandbox, path, ok)
		}
	}
	for _, arg := range []string{"", "a", "a/b", "./a:b", "../a:b", "/a:b", ":a", ".", "https://github.com/octo/shop/issues/42", "https://ghe.example:8443/octo/shop"} {
		if sandbox, path, ok := inSandbox(arg); ok {
			t.Errorf("%s: %q, %q", arg, sandbox, path)
		}
	}
}

func TestByteSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]byteSize{"1": 1, "500": 500, "1k": 1 << 10, "500M": 500 << 20, "2G": 2 << 30, "2GB": 2 << 30, "2GiB": 2 << 30, "1T": 1 << 40} {
		var got byteSize
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "1.5G", "G", "B", "1X", "99999999T", "1e9", "0x10"} {
		if err := new(byteSize).Set(text); err == nil {
			t.Errorf("%q is taken for a size", text)
		}
	}
}
