// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// randomNames are few, so that hooks and changes meet.
var randomNames = []string{"a", "b", "d/a", "d/b", "d/e/a", "d/e", "d", "e"}

// randomLooks are what a hook does with a name: each way to see something of a file, but for its times. What
// it prints is in the image.
var randomLooks = []string{
	"cat %s", "cp -a %s $1/srv/copy", "ls -AR %s", "stat -c '%%a %%F' %s", "[ -f %s ] && stat -c %%s %s", "readlink %s",
	"[ -e %s ] && echo there",
	"[ ! -x %s ] || echo executable", "cat < %s", "grep -r x %s", "find %s -type l -size +1c", ". ./%s", "wc -c %s",
	"cd %s && ls -A", "tar -c --mtime=@0 --sort=name %s | cksum",
	"test %s -ef a && echo same", "for f in %s/*; do echo $f; done", "env | grep -c ^V", "echo $V1 %s",
	"cp -r %s $TOOLBOX/left; cd $TOOLBOX; ls left",
	"ls $TOOLBOX; touch $TOOLBOX/$(basename %s)",
}

// randomHook is a script of a few looks.
func randomHook(r *rand.Rand) string {
	script := "#!/bin/sh\nexec >>\"$1/etc/out\" 2>/dev/null\n"
	for range 1 + r.IntN(4) {
		name := pick(r, randomNames)
		look := pick(r, randomLooks)
		args := make([]any, strings.Count(strings.ReplaceAll(look, "%%", ""), "%s"))
		for i := range args {
			args[i] = name
		}
		script += "(" + fmt.Sprintf(look, args...) + "); echo $?\n"
	}
	return script + "exit 0\n"
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// put makes something of a name: a file, an executable, a link or a directory. Where that cannot be, because there is a
// link on the way, all stays as it is.
func (tr *truth) put(r *rand.Rand, name string) {
	place, then := tr.name(name), time.Unix(1_700_000_000, 0)
	link, dirMode, fileMode := pick(r, randomNames), pick(r, []fs.FileMode{0o755, 0o700}),
		pick(r, []fs.FileMode{0o644, 0o755, 0o600})
	text, kind := pick(r, []string{"V1=x\n", "V1=y\n", "V1=\n", "x", "y", ""}), r.IntN(5)
	if os.RemoveAll(place) != nil || os.MkdirAll(filepath.Dir(place), 0o755) != nil {
		return
	}
	switch kind {
	case 0:
		_ = os.Symlink(link, place)
	case 1:
		_ = os.Mkdir(place, dirMode)
	default:
		_ = errors.Join(os.WriteFile(place, []byte(text), fileMode), os.Chtimes(place, then, then))
	}
}

// change changes one thing, and says what.
func (tr *truth) change(r *rand.Rand) string {
	name := pick(r, randomNames)
	switch r.IntN(8) {
	case 0:
		_ = os.RemoveAll(tr.name(name))
		return "remove " + name
	case 1:
		tr.environ = []string{pick(r, []string{"V1=1", "V1=2", "V2=1"})}
		return "the environment"
	case 2:
		_ = os.Chmod(tr.name(name), pick(r, []fs.FileMode{0o755, 0o700})) // of what is there
		return "chmod " + name
	case 3:
		tr.write("second", randomHook(r))
		return "the second hook"
	case 4:
		tr.write("hook", randomHook(r))
		return "the first hook"
	default:
		tr.put(r, name)
		return "put " + name
	}
}

// TestTheCacheNeverChangesAnImage has random hooks look at random trees in which one thing changes at a time.
func TestTheCacheNeverChangesAnImage(t *testing.T) {
	t.Parallel()
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(12, uint64(seed)))
			tr, e := newTruth(t, map[string]string{"hook": randomHook(r), "second": randomHook(r)}), newHostEngine(t)
			twoHooks(tr)
			for _, name := range slices.Backward(randomNames) {
				tr.put(r, name)
			}
			tr.check(e)
			for range 6 {
				what := tr.change(r)
				if tr.check(e); t.Failed() {
					hook, _ := os.ReadFile(tr.name("hook"))
					second, _ := os.ReadFile(tr.name("second"))
					t.Fatalf("after: %s\n%s\n%s", what, hook, second)
				}
			}
		})
	}
}
