// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
)

// IgnoreName is a file in a directory that a hook sees. It names files of the directory that do not matter to the hook,
// in the syntax of gitignore(5).
const IgnoreName = ".vmdebootstrapignore"

// ignoreList are the patterns of such a file; nil has none.
type ignoreList struct {
	dir      string
	text     []byte
	patterns []ignorePattern
	// mu: a pattern compiles itself when it is first used.
	mu sync.Mutex
}

type ignorePattern struct {
	matcher *patternmatcher.PatternMatcher
	negated bool
	dirOnly bool
}

// readIgnoreList reads the file of a directory, if there is one.
func readIgnoreList(dir string) (*ignoreList, error) {
	text, err := os.ReadFile(filepath.Join(dir, IgnoreName))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := &ignoreList{dir: dir, text: text}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		pattern, ok, err := newIgnorePattern(string(line))
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", filepath.Join(dir, IgnoreName), n, err)
		}
		if ok {
			l.patterns = append(l.patterns, pattern)
		}
	}
	return l, nil
}

// newIgnorePattern reads a line; ok is false if there is no pattern on it. What the library has no notion of, because
// .dockerignore has not, is translated: a pattern without a slash means files at any depth, and one with a slash at its
// end means directories.
func newIgnorePattern(line string) (p ignorePattern, ok bool, err error) {
	text := strings.TrimRight(line, " \t\r\n")
	if text == "" || strings.HasPrefix(text, "#") {
		return p, false, nil
	}
	text, p.negated = strings.CutPrefix(text, "!")
	text, p.dirOnly = strings.CutSuffix(text, "/")
	if strings.Contains(text, "/") {
		text = strings.TrimPrefix(text, "/")
	} else {
		text = "**/" + text
	}
	p.matcher, err = patternmatcher.New([]string{path.Clean(text)})
	return p, true, err
}

// matches reports whether the list names a file, by its name relative to the directory; the directories above it have
// been asked for before. The last pattern that fits decides.
func (l *ignoreList) matches(name string, isDir bool) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.patterns) - 1; i >= 0; i-- {
		p := l.patterns[i]
		if p.dirOnly && !isDir {
			continue
		}
		if matched, err := p.matcher.MatchesOrParentMatches(name); err == nil && matched {
			return !p.negated
		}
	}
	return false
}
