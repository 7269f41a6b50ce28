// SPDX-License-Identifier: Apache-2.0

package containerfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// options are those of a build for amd64, whose only image is rootfs.
var options = Options{Arch: "amd64", Args: []string{"VERSION=2"}, Base: func(image string) (Config, error) {
	if image != "rootfs" {
		return Config{}, fmt.Errorf("%q is not rootfs", image)
	}
	return Config{Env: []string{"PATH=/bin"}}, nil
}}

func stages(t *testing.T, text string) []Stage {
	t.Helper()
	f, err := Parse("Containerfile", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	all, err := f.Stages(options)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// summary describes an instruction on one line.
func summary(i Instruction) string {
	switch {
	case i.Run != nil:
		return fmt.Sprintf("%d: RUN %q %q in %s as %q", i.Line, i.Run.Args, i.Run.Env, i.Run.Workdir, i.Run.User)
	case i.Copy != nil:
		return fmt.Sprintf("%d: COPY %d:%q %q to %s owner %q mode %q", i.Line, i.Copy.Stage, i.Copy.Sources, i.Copy.Inline,
			i.Copy.Destination, i.Copy.Chown, i.Copy.Chmod)
	case i.Workdir != nil:
		return fmt.Sprintf("%d: WORKDIR %s for %q", i.Line, i.Workdir.Path, i.Workdir.User)
	default:
		return fmt.Sprintf("%d: %s", i.Line, i.Name())
	}
}

func TestInstructionsAreEvaluatedAsByBuildKit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"variables", "ARG BASE=rootfs\nFROM $BASE\nARG VERSION=1\nARG OTHER=o\nENV V=v$VERSION PATH=/opt:$PATH\nRUN x",
			`6: RUN ["/bin/sh" "-c" "x"] ["OTHER=o" "PATH=/opt:/bin" "V=v2" "VERSION=2"] in / as ""`},
		{"ENV takes precedence over ARG", "FROM rootfs\nENV VERSION=env\nARG VERSION\nRUN x",
			`4: RUN ["/bin/sh" "-c" "x"] ["PATH=/bin" "VERSION=env"] in / as ""`},
		{"an argument that is not declared", "FROM rootfs\nRUN echo $VERSION",
			`2: RUN ["/bin/sh" "-c" "echo $VERSION"] ["PATH=/bin"] in / as ""`},
		{"a global argument", "ARG G=g\nFROM rootfs\nARG G\nARG TARGETARCH\nRUN [\"x\", \"y\"]",
			`5: RUN ["x" "y"] ["G=g" "PATH=/bin" "TARGETARCH=amd64"] in / as ""`},
		{"directories and users", "FROM rootfs\nWORKDIR /srv\nUSER www:www\nWORKDIR app\nRUN x\nCOPY --chown=a:b --chmod=640 f .",
			`2: WORKDIR /srv for ""` + "\n" + `4: WORKDIR /srv/app for "www:www"` + "\n" +
				`5: RUN ["/bin/sh" "-c" "x"] ["PATH=/bin"] in /srv/app as "www:www"` + "\n" +
				`6: COPY -1:["f"] [] to /srv/app/ owner "a:b" mode "640"`},
		{"another shell", "FROM rootfs\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN x \\\n  y",
			`3: RUN ["/bin/bash" "-ec" "x   y"] ["PATH=/bin"] in / as ""`},
		{"heredocs", "FROM rootfs\nARG VERSION\nRUN <<E\na\nb\nE\nRUN cat <<E >f\na\nE\nCOPY <<F /etc/f\nv$VERSION \"q\"\nF\nRUN <<E\n#!/bin/x\nE",
			`3: RUN ["/bin/sh" "-c" "a\nb\n"] ["PATH=/bin" "VERSION=2"] in / as ""` + "\n" +
				`7: RUN ["/bin/sh" "-c" "cat <<E >f\na\nE"] ["PATH=/bin" "VERSION=2"] in / as ""` + "\n" +
				`10: COPY -1:[] [{"F" "v2 \"q\"\n"}] to /etc/f owner "" mode ""` + "\n" +
				`13: RUN ["/dev/pipes/script"] ["PATH=/bin" "VERSION=2"] in / as ""`},
		{"URLs", "FROM rootfs\nARG VERSION\nADD http://x/y-$VERSION.tar https://x/z a /opt/",
			`3: COPY -1:["http://x/y-2.tar" "https://x/z" "a"] [] to /opt/ owner "" mode ""`},
		{"several stages", "FROM rootfs AS Base\nENV A=1\nUSER u\nFROM base AS next\nRUN x\nFROM rootfs\nCOPY --from=next /a /b\nCOPY --from=0 c d",
			`5: RUN ["/bin/sh" "-c" "x"] ["A=1" "PATH=/bin"] in / as "u"` + "\n" +
				`7: COPY 1:["/a"] [] to /b owner "" mode ""` + "\n" + `8: COPY 0:["c"] [] to /d owner "" mode ""`},
	} {
		var got []string
		for _, s := range stages(t, tt.text) {
			for _, i := range s.Instructions {
				got = append(got, summary(i))
			}
		}
		if text := strings.Join(got, "\n"); text != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, text, tt.want)
		}
	}
}

func TestStagesKnowWhatTheyNeed(t *testing.T) {
	t.Parallel()
	all := stages(t, "FROM rootfs AS a\nFROM scratch AS b\nFROM a\nCOPY --from=b x y\nRUN --mount=from=b,target=/b --mount=type=cache,target=/c x\nCMD y\nEXPOSE 80")
	last := all[2]
	if last.Parent != 0 || last.Image != "" || !slices.Equal(last.Uses, []int{1}) || all[1].Image != "scratch" {
		t.Errorf("got %+v", all)
	}
	m := last.Instructions[1].Run.Mounts
	if len(m) != 2 || m[0].Stage != 1 || m[0].Target != "/b" || m[1].Type != "cache" {
		t.Errorf("got mounts %+v", m)
	}
	if len(last.Described) != 2 || last.Described[0].Name() != "CMD" || last.Described[1].Line != 7 {
		t.Errorf("got %+v", last.Described)
	}
}

// Issue 19, 1: what is about the process of a container is known, whichever instructions are there with it.
func TestStagesKnowWhatADiskDoesNotHave(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ENV A=1": "ENV 2", "ENV A=1\nENV B=2": "ENV 2, ENV 3", "USER www:www": "USER 2", "USER root": "", "USER 0:0": "",
		"USER a\nUSER b": "USER 3", "USER a\nRUN x\nUSER root": "", "CMD x": "CMD 2", "ENTRYPOINT x": "ENTRYPOINT 2",
		"EXPOSE 80": "EXPOSE 2", "VOLUME /x": "VOLUME 2", "HEALTHCHECK CMD x": "HEALTHCHECK 2",
		"STOPSIGNAL 9": "STOPSIGNAL 2", "WORKDIR /x": "", "LABEL a=b": "",
		"SHELL [\"/bin/bash\", \"-c\"]": "", "ARG A=1": "", "MAINTAINER x": "",
		"ENV A=1\nCMD x\nFROM first AS next\nUSER a\nFROM next\nEXPOSE 1": "ENV 2, CMD 3, USER 5, EXPOSE 7",
		"CMD x\nFROM rootfs": "",
	} {
		all := stages(t, "FROM rootfs AS first\n"+text)
		var got []string
		for _, i := range all[len(all)-1].Described {
			got = append(got, fmt.Sprint(i.Name(), " ", i.Line))
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestMistakesAreAllReportedWithTheirLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                                   {"F: file with no instructions"},
		"RUN x":                              {"F:1: RUN before the first FROM"},
		"ARG A":                              {"F: there is no FROM"},
		"FROM rootfs\nRUNN x\nCOPY a":        {"F:2: unknown instruction: RUNN (did you mean RUN?)", "F:3: COPY requires"},
		"FROM debian":                        {`F:1: FROM: "debian" is not rootfs`},
		"FROM $NONE":                         {`F:1: FROM: "$NONE" is empty`},
		"FROM rootfs AS a\nFROM rootfs as A": {`F:2: FROM: the stage of line 1 is called "a" as well`},
		"FROM --platform=linux/s390x rootfs": {"F:1: FROM: --platform=linux/s390x: only linux/amd64 is built for"},
		"FROM rootfs\n\nADD https://x/y.git#v1 /z\nRUN --mount=type=ssh x": {
			"F:3: ADD: https://x/y.git#v1: a Git repository is not supported: have RUN clone it",
			"F:4: RUN: --mount: the type ssh is not supported"},
		"FROM rootfs\nADD git@x:y /z\nADD ssh://x/y /z\nADD ftp://x/y /z\nADD http:///y /z": {
			"F:2: ADD: git@x:y: a Git repository", "F:3: ADD: ssh://x/y: a Git repository",
			"F:4: ADD: ftp://x/y: URLs of ftp are not supported", `F:5: ADD: "http:///y" names no host`},
		"FROM rootfs\nADD https://me:word@x/y /z": {"F:2: ADD: a URL with credentials is not supported"},
		"FROM rootfs\nADD https://x/ /z/":         {"F:2: ADD: https://x/ names no file"},
		"FROM rootfs\nCOPY https://x/y /z":        {"F:2: COPY: https://x/y: use ADD for a URL"},
		"FROM rootfs\nADD --checksum=sha256:0 https://x/y /z\nADD --checksum=md5:0 a /z\n" +
			"ADD --keep-git-dir=true https://x/y z": {
			`F:2: ADD: --checksum: "sha256:0" is not sha256: and 64 hexadecimal digits`,
			"F:3: ADD: --checksum is for a single URL", "F:4: ADD: --keep-git-dir is for Git repositories"},
		"FROM rootfs\nRUN --network=none x":     {"F:2: RUN: --network=none: programs of a build share the host's network"},
		"FROM rootfs\nCOPY a b c":               {`F:2: COPY: of several files the destination "c" must end in a slash`},
		"FROM rootfs\nCOPY --chmod=u+x a b":     {`F:2: COPY: --chmod: "u+x" is not a mode in octal digits`},
		"FROM rootfs\nCOPY --from=x a b":        {`F:2: COPY: --from: there is no stage "x" before this one`},
		"FROM rootfs\nCOPY --from=0 a b":        {`F:2: COPY: --from: there is no stage "0" before this one`},
		"FROM rootfs\nRUN --mount=type=cache x": {"F:2: RUN: --mount: no target"},
		"FROM rootfs\nRUN --mount=tipe=cache x": {"F:2: RUN: unexpected key 'tipe'"},
		"FROM rootfs\nENV A=${B\nONBUILD RUN x": {"F:2: ENV: ", "F:3: ONBUILD: it is for images that others build on"},
		"FROM rootfs\nRUN <<E\nx":               {"F:2: unterminated heredoc"},
	} {
		f, err := Parse("F", []byte(text))
		if err == nil {
			_, err = f.Stages(options)
		}
		got := ""
		if err != nil {
			got = err.Error()
		}
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%q: got %q, want %q", text, got, w)
			}
		}
		var e *Error
		if len(strings.Split(got, "\n")) != len(want) || !errors.As(err, &e) {
			t.Errorf("%q: got %q, want %d mistakes", text, got, len(want))
		}
	}
}

func TestArgumentsThatNothingDeclaresAreFound(t *testing.T) {
	t.Parallel()
	f, err := Parse("F", []byte("ARG A\nFROM rootfs\nARG B"))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Unused([]string{"A=1", "B=2", "D=4", "C=3", "http_proxy=p"}); !slices.Equal(got, []string{"C", "D"}) {
		t.Errorf("got %q", got)
	}
}

// tree makes files, whose content is their name, in a new directory; a name that has " -> " in it is a link.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		name, link, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil && isLink {
			err = os.Symlink(link, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestContextFindsWhatIsNotIgnored(t *testing.T) {
	t.Parallel()
	dir := tree(t, "a.txt", "b.txt", "sub/c.txt", "sub/deep/d", "only/x", "only/keep/y", "link -> sub", "out -> /etc",
		"Containerfile")
	// The rules are those of https://docs.docker.com/build/concepts/context/#dockerignore-files.
	for _, tt := range []struct{ ignore, pattern, exclude, want string }{
		{"", "*.txt", "", "a.txt b.txt"},
		{"", "/a.txt", "", "a.txt"},
		{"", "sub", "", "sub/:. c.txt deep deep/d"},
		{"", "sub/", "*.txt", "sub/:. deep deep/d"},
		{"", "link", "", "link/:. c.txt deep deep/d"},
		{"", "../../sub/*", "", "c.txt deep/:. d"},
		{"", "out/passwd", "", "missing"},
		{"", "none", "", "missing"},
		{"*.txt", "*.txt", "", "missing"},
		{"*.txt\n!b.txt", "*.txt", "", "b.txt"},
		{"**/*.txt", "sub", "", "sub/:. deep deep/d"},
		{"only\n!only/keep", "only", "", "only/:. keep keep/y"},
		{"# nothing\n\n", ".", "only", ""},
		{"/a.txt", "*.txt", "", "b.txt"},
		{"a.txt\r\n# b.txt\r\n", "*.txt", "", "b.txt"},
		{"\ufeffa.txt", "*.txt", "", "b.txt"},
		{"!b.txt\n*.txt", "*.txt", "", "missing"},
		{"*\n!sub", ".", "", "./:. sub sub/c.txt sub/deep sub/deep/d"},
		{"**\n!**/*.txt\n!sub/deep\nb.txt", ".", "", "./:. a.txt sub sub/c.txt sub/deep sub/deep/d"},
		{"sub/*\n!sub/deep/", "sub", "", "sub/:. deep deep/d"},
		{"sub/", "sub/c.txt", "", "missing"},
		{"**/d", "sub", "", "sub/:. c.txt deep"},
		{"?.txt", "*.txt", "", "missing"},
		{"[a].txt", "*.txt", "", "b.txt"},
		{"Containerfile\n.dockerignore", "Container*", "", "missing"},
		{"link", "link", "", "missing"},
		{"", "out/*", "", "missing"},
	} {
		if err := os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte(tt.ignore), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := OpenContext(dir, filepath.Join(dir, "Containerfile"))
		if err != nil {
			t.Fatal(err)
		}
		var exclude []string
		if tt.exclude != "" {
			exclude = []string{tt.exclude}
		}
		found, err := c.Find(tt.pattern, exclude)
		var got []string
		for _, m := range found {
			text := m.Name
			if m.Dir {
				var keep []string
				for name := range m.Keep {
					keep = append(keep, name)
				}
				slices.Sort(keep)
				text += "/:" + strings.Join(keep, " ")
			}
			got = append(got, text)
		}
		if errors.Is(err, fs.ErrNotExist) {
			got = []string{"missing"}
		} else if err != nil {
			t.Errorf("%q: %v", tt.pattern, err)
		}
		if text := strings.Join(got, " "); tt.want != "" && text != tt.want {
			t.Errorf("ignore %q, pattern %q, exclude %q: got %q, want %q", tt.ignore, tt.pattern, tt.exclude, text, tt.want)
		}
	}
}

func TestIgnoreFileOfTheContainerfileComesFirst(t *testing.T) {
	t.Parallel()
	dir := tree(t, "a", "b", "Containerfile", ".dockerignore", ".containerignore")
	file := filepath.Join(dir, "Containerfile")
	for i, name := range []string{".dockerignore", ".containerignore", "Containerfile.dockerignore",
		"Containerfile.containerignore"} {
		text := []string{"a", "b"}[i%2]
		if i == 0 {
			if err := os.Remove(filepath.Join(dir, ".containerignore")); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := OpenContext(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Find(text, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %s is found: %v", name, text, err)
		}
	}
}
