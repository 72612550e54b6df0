package openapi

import (
	"regexp"
	"strings"
)

// exception is a way in which v0.190, which the embedded Daytona behaves like,
// breaks the documents, which are of 0.205.1.
type exception struct {
	operation string // a regular expression of Operation.String
	says      string // part of the violation's error
	why       string
}

// exceptions are all there are; the tests of the embedded Daytona hold that
// each is needed.
func exceptions() []exception {
	return []exception{
		{`^POST /sandbox/{sandboxIdOrName}/auto(stop|archive|delete)/`, "status 201", "v0.190 answers as if it had created something"},
		{`^POST /sandbox/{sandboxIdOrName}/public/`, "status 201", "likewise"},
		{`^POST .*/signed-preview-url/{token}/expire$`, "status 201", "likewise"},
		{`^PUT /sandbox/{sandboxIdOrName}/labels$`, "is unsupported", "v0.190 answers with the whole sandbox"},
		{`^GET /object-storage/push-access$`, `property "region" is missing`, "0.205 says where the bucket is"},
		{`^POST /files/bulk-upload$`, "no body is documented", "toolbox.json leaves the form out"},
		{`^POST /files/upload$`, "is in no document", "v0.190 has it; 0.205 has upload-v2"},
		{`^[A-Z]+ /files(/[a-z]+)?$`, "the body is missing", "v0.190 tells what is wrong by the status alone"},
		{`^GET /port/{port}/in-use$`, "the body is missing", "likewise"},
		{`^POST /process/session/{sessionId}/exec$`, "the body is missing", "v0.190 answers 400 without one"},
		{`^[A-Z]+ /process/pty`, "property ", `v0.190 refuses with {"error": …} alone`},
		{`^POST /files/bulk-download$`, "property ", "likewise"},
		{`^POST /files/bulk-upload$`, "property ", "v0.190 refuses with the errors of all files"},
	}
}

// excused reports whether an exception allows the violation.
func (d *Documents) excused(v *Violation) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.exceptions {
		if strings.Contains(v.Err.Error(), e.says) && regexp.MustCompile(e.operation).MatchString(v.Operation) {
			d.needed[e] = true
			return true
		}
	}
	return false
}

// Unneeded names the exceptions that nothing has needed yet.
func (d *Documents) Unneeded() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.exceptions {
		if !d.needed[e] {
			all = append(all, e.operation+": "+e.says+" ("+e.why+")")
		}
	}
	return all
}
