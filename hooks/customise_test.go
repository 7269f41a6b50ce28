// SPDX-License-Identifier: Apache-2.0

package hooks_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// shells lists the shells that hooks are likely to be written for.
var shells = []string{"dash", "bash"}

// world is a root directory, the library, and fakes of the programs that need privileges. Each fake writes its name and
// arguments to a log, with $rootdir for the root directory, and then runs the commands that it was made with.
type world struct {
	t               *testing.T
	dir, root, lib  string
	bin, transcript string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{
		t: t, dir: dir, root: filepath.Join(dir, "a root"), lib: filepath.Join(dir, "customise.lib"),
		bin: filepath.Join(dir, "bin"), transcript: filepath.Join(dir, "transcript"),
	}
	for _, d := range []string{w.bin, w.root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.write(w.lib, hooks.CustomiseLib)
	for name, does := range map[string]string{
		// A directory counts as mounted while it holds a file "mounted".
		"mountpoint": `[ -e "$2/mounted" ]`,
		"mount":      `for last; do :; done; touch "$last/mounted"`,
		"umount":     `rm "$1/mounted"`,
		"chroot":     ``,
	} {
		w.fake(name, does)
	}
	return w
}

// write writes a file and makes its directory.
func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

// fake makes a fake program that runs the shell commands does.
func (w *world) fake(name, does string) {
	w.t.Helper()
	w.write(filepath.Join(w.bin, name), fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>'%s'\n%s\n", name, w.transcript, does))
}

// run sources the library, runs a script with "set -eu", and returns the output and log of this run.
func (w *world) run(shell, script string) (output, log string, err error) {
	w.t.Helper()
	if err := os.WriteFile(w.transcript, nil, 0o600); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.t.Context(), diskimagetest.Tool(w.t, shell), "-c", "set -eu\nrootdir=$1\n. \"$2\"\n"+script, shell,
		w.root, w.lib)
	cmd.Env = []string{"PATH=" + w.bin + ":" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	text, readErr := os.ReadFile(w.transcript)
	if readErr != nil {
		w.t.Fatal(readErr)
	}
	return string(out), strings.ReplaceAll(string(text), w.root, "$rootdir"), err
}

// mustRun is run for a script that must succeed.
func (w *world) mustRun(shell, script string) (output, log string) {
	w.t.Helper()
	out, log, err := w.run(shell, script)
	if err != nil {
		w.t.Fatalf("%s: %q: %v\n%s", shell, script, err, out)
	}
	return out, log
}

// tree returns the files below a directory of the root directory, with their contents.
func (w *world) tree(dir string) map[string]string {
	w.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(w.root, dir), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		found[strings.TrimPrefix(name, w.root+"/")] = string(text)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// inShells runs a test in each shell.
func inShells(t *testing.T, test func(t *testing.T, w *world, shell string)) {
	t.Helper()
	t.Parallel()
	for _, shell := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t), shell)
		})
	}
}

func TestSourcingExportsAnEnvironmentWithoutQuestions(t *testing.T) {
	inShells(t, func(t *testing.T, w *world, shell string) {
		out, log := w.mustRun(shell,
			`sh -c 'echo $DEBIAN_FRONTEND $LC_ALL $LANG $LANGUAGE'; LANG=de; export_env; sh -c 'echo $LANG'`)
		if out != "noninteractive C C C\nC\n" || log != "" {
			t.Errorf("got %q and the commands %q", out, log)
		}
	})
}

func TestVariablesAreSet(t *testing.T) {
	inShells(t, func(t *testing.T, w *world, shell string) {
		out, _ := w.mustRun(shell,
			`WHO=joe SUITE=trixie ARCH=armhf; . "$2"; printf '%s\n' "$BASE_OPTS" "$TASK_PACKAGES" "$EXTRA_PACKAGES"`)
		lines := strings.Split(out, "\n")
		want := "--owner=joe --verbose --sudo --lock-root-password --enable-dhcp --configure-apt --log=debian-cd-trixie-armhf.log --log-level=debug"
		if lines[0] != want || lines[1] != "task-laptop task-english" {
			t.Errorf("got\n%s", out)
		}
		for _, renamed := range []string{"telnet", "host", "dnsutils", "ftp"} {
			if slices.Contains(strings.Fields(lines[2]), renamed) {
				t.Errorf("EXTRA_PACKAGES holds the old name %s", renamed)
			}
		}
		if n := len(strings.Fields(lines[2])); n != 19 {
			t.Errorf("EXTRA_PACKAGES holds %d packages, want 19", n)
		}
	})
}

func TestCleanupUnmountsOnlyWhatWasMounted(t *testing.T) {
	inShells(t, func(t *testing.T, w *world, shell string) {
		for _, function := range []string{"mount_proc", "mount_support"} {
			_, log := w.mustRun(shell, function+"\n"+function+"\ncleanup\ncleanup")
			want := "mountpoint -q $rootdir/proc\nmount -t proc proc $rootdir/proc\n" +
				"mountpoint -q $rootdir/sys\nmount -t sysfs sysfs $rootdir/sys\n" +
				"mountpoint -q $rootdir/proc\nmountpoint -q $rootdir/sys\numount $rootdir/sys\numount $rootdir/proc\n"
			if log != want {
				t.Errorf("%s: got\n%s", function, log)
			}
		}
		w.write(filepath.Join(w.root, "proc/mounted"), "")
		w.write(filepath.Join(w.root, "sys/mounted"), "")
		if _, log := w.mustRun(shell, "mount_proc\ncleanup"); log != "mountpoint -q $rootdir/proc\nmountpoint -q $rootdir/sys\n" {
			t.Errorf("mounted already: got\n%s", log)
		}
	})
}

func TestCleanupRunsWhenTheHookFails(t *testing.T) {
	inShells(t, func(t *testing.T, w *world, shell string) {
		_, log, err := w.run(shell, "trap cleanup 0\nmount_proc\nfalse\n")
		if err == nil || !strings.HasSuffix(log, "umount $rootdir/sys\numount $rootdir/proc\n") {
			t.Errorf("got %v and\n%s", err, log)
		}
	})
}

func TestMountFallsBackToTheSysThatIsThere(t *testing.T) {
	inShells(t, func(t *testing.T, w *world, shell string) {
		w.fake("mount", `[ "$2" != sysfs ]`)
		w.fake("umount", `[ "$1" = -l ]`)
		_, log := w.mustRun(shell, "mount_proc\ncleanup")
		if !strings.Contains(log,
			"mount --rbind --make-rslave /sys $rootdir/sys\numount $rootdir/sys\numount -l $rootdir/sys\n") {
			t.Errorf("got\n%s", log)
		}
	})
}

// TestMountsAreRealInAUserNamespace mounts without fakes, as an ordinary user.
func TestMountsAreRealInAUserNamespace(t *testing.T) {
	t.Parallel()
	unshare := []string{diskimagetest.Tool(t, "unshare"), "--map-root-user", "--mount", "--pid", "--fork"}
	if out, err := exec.CommandContext(t.Context(), unshare[0],
		append(unshare[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no user namespaces here: %v: %s", err, out)
	}
	w := newWorld(t)
	script := `set -eu; rootdir=$1; . "$2"; mount_proc
		test -d "$rootdir/proc/1/fd"; test -d "$rootdir/sys/kernel"; cleanup
		! mountpoint -q "$rootdir/proc"; ! mountpoint -q "$rootdir/sys"; test -d /sys/kernel`
	args := append(unshare[1:], "sh", "-c", script, "sh", w.root, w.lib)
	if out, err := exec.CommandContext(t.Context(), unshare[0], args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("got %v\n%s", err, out)
	}
}

func TestDaemonsAreBlockedAndUnblocked(t *testing.T) {
	inShells(t, func(t *testing.T, w *world, shell string) {
		policy := filepath.Join(w.root, "usr/sbin/policy-rc.d")
		blocked := func() bool {
			err := exec.CommandContext(t.Context(), policy).Run()
			var exit *exec.ExitError
			return errors.As(err, &exit) && exit.ExitCode() == 101
		}
		w.mustRun(shell, "disable_daemons\ndisable_daemons")
		if !blocked() {
			t.Error("policy-rc.d does not exit with 101")
		}
		w.mustRun(shell, "remove_daemon_block\nremove_daemon_block")
		if got := w.tree("."); len(got) > 0 {
			t.Errorf("left behind: %q", got)
		}

		w.write(policy, "#!/bin/sh\nexit 7\n")
		w.mustRun(shell, "disable_daemons\ndisable_daemons")
		if !blocked() {
			t.Error("policy-rc.d of the image is not replaced")
		}
		w.mustRun(shell, "remove_daemon_block")
		if got := w.tree("."); len(got) != 1 || got["usr/sbin/policy-rc.d"] != "#!/bin/sh\nexit 7\n" {
			t.Errorf("not restored: %q", got)
		}
	})
}

func TestAptSourcesAreReplacedAndRestored(t *testing.T) {
	for name, sources := range map[string]map[string]string{
		"nothing":   {},
		"one list":  {"etc/apt/sources.list": "deb http://old bookworm main\n"},
		"base.list": {"etc/apt/sources.list.d/base.list": "deb http://old bookworm main\n"},
		"deb822":    {"etc/apt/sources.list.d/debian.sources": "Types: deb\n"},
		"all": {
			"etc/apt/sources.list":                   "# see sources.list.d\n",
			"etc/apt/sources.list.d/base.list":       "deb http://old sid main\n",
			"etc/apt/sources.list.d/debian.sources":  "Types: deb\n",
			"etc/apt/sources.list.d/with space.list": "deb http://x y z\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inShells(t, func(t *testing.T, w *world, shell string) {
				if err := os.MkdirAll(filepath.Join(w.root, "etc/apt/sources.list.d"), 0o755); err != nil {
					t.Fatal(err)
				}
				for file, text := range sources {
					w.write(filepath.Join(w.root, file), text)
				}
				_, log := w.mustRun(shell,
					"prepare_apt_source http://older trixie\nprepare_apt_source http://near trixie")
				if want := strings.Repeat("chroot $rootdir apt-get -q update\n", 2); log != want {
					t.Errorf("got the commands %q", log)
				}
				if got := w.tree("etc/apt")["etc/apt/sources.list"]; got != "deb http://near trixie main contrib non-free non-free-firmware\n" {
					t.Errorf("sources.list: got %q", got)
				}
				if left := w.tree("etc/apt/sources.list.d"); len(left) > 0 {
					t.Errorf("still in use: %q", left)
				}
				w.mustRun(shell, "replace_apt_source")
				if got := w.tree("."); !maps.Equal(got, sources) {
					t.Errorf("after replace_apt_source: got %q, want %q", got, sources)
				}
			})
		})
	}
}

func TestOldSuitesHaveNoFirmwareComponent(t *testing.T) {
	inShells(t, func(t *testing.T, w *world, shell string) {
		w.mustRun(shell, "prepare_apt_source http://near jessie")
		if got := w.tree("etc/apt")["etc/apt/sources.list"]; got != "deb http://near jessie main contrib non-free\n" {
			t.Errorf("got %q", got)
		}
	})
}

func TestMistakesInHooksEndThem(t *testing.T) {
	inShells(t, func(t *testing.T, _ *world, shell string) {
		for script, want := range map[string]string{
			"prepare_apt_source":                                              "usage: prepare_apt_source URL SUITE",
			"prepare_apt_source http://near":                                  "usage: prepare_apt_source URL SUITE",
			"replace_apt_source":                                              "prepare_apt_source has not been called",
			"rootdir=; disable_daemons":                                       "rootdir",
			"rootdir=; mount_proc":                                            "rootdir",
			"rootdir=; prepare_apt_source a b; echo went on":                  "rootdir",
			"unset rootdir; blacklist_qemu_bochs":                             "rootdir",
			"prepare_apt_source http://near sid extra":                        "usage",
			"chroot() { return 100; }; prepare_apt_source http://near trixie": "",
		} {
			out, log, err := newWorld(t).run(shell, script)
			if err == nil || !strings.Contains(out, want) || log != "" || strings.Contains(out, "went on") {
				t.Errorf("%s: got %v, %q, commands %q; want an error with %q", script, err, out, log, want)
			}
		}
	})
}

func TestBochsIsBlacklistedUnderBothNames(t *testing.T) {
	inShells(t, func(t *testing.T, w *world, shell string) {
		w.mustRun(shell, "blacklist_qemu_bochs")
		if got := w.tree(".")["etc/modprobe.d/qemu-blacklist.conf"]; got != "blacklist bochs-drm\nblacklist bochs\n" {
			t.Errorf("got %q", got)
		}
	})
}

func TestShellcheckFindsNothingInTheLibrary(t *testing.T) {
	t.Parallel()
	diskimagetest.Run(t, "shellcheck", newWorld(t).lib)
}
