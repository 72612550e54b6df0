package engine

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// keptFor is how long what a run left in its directory is kept.
const keptFor = 30 * 24 * time.Hour

// tidy removes what runs left long ago. It does what it can.
func (e *Engine) tidy() {
	dirs, err := os.ReadDir(e.Dir)
	if err != nil && !os.IsNotExist(err) {
		e.Log.Warn("old runs not tidied away", "error", err)
	}
	for _, dir := range dirs {
		info, err := dir.Info()
		if err != nil || !dir.IsDir() || !strings.HasPrefix(dir.Name(), "r_") || e.Now().Sub(info.ModTime()) < keptFor {
			continue
		}
		if err := os.RemoveAll(filepath.Join(e.Dir, dir.Name())); err != nil {
			e.Log.Warn("an old run not tidied away", "run", dir.Name(), "error", err)
		}
	}
}
