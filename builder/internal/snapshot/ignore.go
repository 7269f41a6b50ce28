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

// IgnoreName is the name of a file in a directory that a hook sees. It lists files of the directory that are not inputs
// of the hook, in the syntax of gitignore(5).
const IgnoreName = ".vmdebootstrapignore"

// ignoreList holds the patterns of such a file; nil has none.
type ignoreList struct {
	dir      string
	text     []byte
	patterns []ignorePattern
	// mu guards patterns, which compile when they are first used.
	mu sync.Mutex
}

// ignorePattern is a line of such a file.
type ignorePattern struct {
	matcher *patternmatcher.PatternMatcher
	negated bool
	dirOnly bool
}

// readIgnoreList reads the file of a directory; it returns nil if there is none.
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

// newIgnorePattern parses a line; ok is false if it has no pattern. It translates what the library, made for
// .dockerignore, does not support: a pattern without a slash matches at any depth, and one with a trailing
// slash matches directories only.
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

// matches reports whether the list matches a file, by its name relative to the directory. The caller has checked the
// directories above it. The last matching pattern decides.
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
