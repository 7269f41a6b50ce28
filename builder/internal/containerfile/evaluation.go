// SPDX-License-Identifier: Apache-2.0

package containerfile

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/opencontainers/go-digest"
)

// evaluation is the state of a stage while its instructions are evaluated.
type evaluation struct {
	stages  []Stage
	stage   *Stage
	options Options
	global  variableSet
	lex     *shell.Lex
	env     variableSet
	args    variableSet
}

// known returns all variables that instructions see. ENV takes precedence over ARG.
func (e *evaluation) known() variableSet {
	all := maps.Clone(e.args)
	maps.Copy(all, e.env)
	return all
}

// add evaluates one instruction.
func (e *evaluation) add(c instructions.Command) error {
	if expands, ok := c.(instructions.SupportsSingleWordExpansion); ok {
		if err := expands.Expand(e.expand); err != nil {
			return err
		}
	}
	if expands, ok := c.(instructions.SupportsSingleWordExpansionRaw); ok {
		if err := expands.ExpandRaw(e.expandRaw); err != nil {
			return err
		}
	}
	i := Instruction{Line: line(c.Location()), Text: oneLine(c)}
	switch c := c.(type) {
	case *instructions.RunCommand:
		run, err := e.run(c)
		if err != nil {
			return err
		}
		i.Run = run
	case *instructions.CopyCommand:
		if n := slices.IndexFunc(c.SourcePaths, IsURL); n >= 0 {
			return fmt.Errorf("%s: use ADD for a URL", c.SourcePaths[n])
		}
		copied, err := e.copy(c.SourcesAndDest, c.From, c.Chown, c.Chmod, c.ExcludePatterns)
		if err != nil {
			return err
		}
		i.Copy = copied
	case *instructions.AddCommand:
		added, err := e.copy(c.SourcesAndDest, "", c.Chown, c.Chmod, c.ExcludePatterns)
		if err != nil {
			return err
		}
		if err := added.urls(c); err != nil {
			return err
		}
		i.Copy = added
	case *instructions.WorkdirCommand:
		e.stage.config.Workdir = e.absolute(c.Path)
		i.Workdir = &Workdir{e.stage.config.Workdir, e.stage.config.User}
	case *instructions.ArgCommand:
		e.declare(c)
		return nil
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			e.env[kv.Key] = kv.Value
		}
		e.stage.Described = append(e.stage.Described, i)
		return nil
	case *instructions.UserCommand:
		e.stage.config.User = c.User
		e.stage.Described = slices.DeleteFunc(e.stage.Described, func(d Instruction) bool { return d.Name() == i.Name() })
		if !IsRoot(c.User) {
			e.stage.Described = append(e.stage.Described, i)
		}
		return nil
	case *instructions.ShellCommand:
		e.stage.config.Shell = c.Shell
		return nil
	case *instructions.LabelCommand, *instructions.MaintainerCommand:
		return nil
	case *instructions.OnbuildCommand:
		return errors.New("it is for images that others build on, and does nothing for a disk: remove it")
	default: // CMD, ENTRYPOINT, EXPOSE, HEALTHCHECK, STOPSIGNAL, VOLUME
		e.stage.Described = append(e.stage.Described, i)
		return nil
	}
	e.stage.Instructions = append(e.stage.Instructions, i)
	return nil
}

// IsRoot reports whether USER says that programs run as root, as they do without it.
func IsRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	return name == "" || name == "root" || name == "0"
}

func (e *evaluation) expand(word string) (string, error) {
	result, _, err := e.lex.ProcessWord(word, e.known().getter())
	return result, err
}

// expandRaw expands variables and keeps quotes, as in the text of a file.
func (e *evaluation) expandRaw(word string) (string, error) {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	result, _, err := lex.ProcessWord(word, e.known().getter())
	return result, err
}

// declare adds the arguments of an ARG instruction.
func (e *evaluation) declare(c *instructions.ArgCommand) {
	given := variables(e.options.Args)
	for _, a := range c.Args {
		value, ok := given[a.Key]
		if !ok && a.Value != nil {
			value, ok = *a.Value, true
		}
		if !ok {
			value, ok = e.global[a.Key]
		}
		if ok {
			e.args[a.Key] = value
		}
	}
}

// absolute returns a path that may be relative to WORKDIR. A slash at its end stays.
func (e *evaluation) absolute(name string) string {
	clean := path.Join("/", name)
	if !path.IsAbs(name) {
		clean = path.Join("/", e.stage.config.Workdir, name)
	}
	if clean != "/" && (strings.HasSuffix(name, "/") || name == "." || strings.HasSuffix(name, "/.")) {
		clean += "/"
	}
	return clean
}

// defaultShell runs the shell form of RUN if there is no SHELL.
var defaultShell = []string{"/bin/sh", "-c"}

// run evaluates a RUN instruction.
func (e *evaluation) run(c *instructions.RunCommand) (*Run, error) {
	config := e.stage.config
	r := &Run{Args: c.CmdLine, Env: e.known().list(), User: config.User, Workdir: path.Join("/", config.Workdir)}
	if len(c.CmdLine) == 0 || c.CmdLine[0] == "" {
		return nil, errors.New("no command")
	}
	if len(c.Files) > 0 {
		text := c.Files[0].Data
		if c.Files[0].Chomp {
			text = parser.ChompHeredocContent(text)
		}
		switch heredoc := parser.MustParseHeredoc(c.CmdLine[0]); {
		case heredoc != nil && strings.HasPrefix(text, "#!"):
			r.Script, r.Args = text, []string{ScriptFile}
		case heredoc != nil:
			r.Args = []string{text}
		default: // the shell reads the heredocs
			whole := c.CmdLine[0]
			for _, file := range c.Files {
				whole += "\n" + file.Data + file.Name
			}
			r.Args = []string{whole}
		}
	}
	if c.PrependShell && r.Script == "" {
		r.Args = slices.Concat(firstNonEmpty(config.Shell, defaultShell), r.Args)
	}
	switch {
	case instructions.GetNetwork(c) == instructions.NetworkNone:
		return nil, errors.New("--network=none: programs of a build share the host's network")
	case len(instructions.GetDevices(c)) > 0:
		return nil, errors.New("--device: a build has no devices")
	}
	for _, m := range instructions.GetMounts(c) {
		mount, err := e.mount(m)
		if err != nil {
			return nil, fmt.Errorf("--mount: %w", err)
		}
		r.Mounts = append(r.Mounts, mount)
	}
	return r, nil
}

func firstNonEmpty(a, b []string) []string {
	if len(a) > 0 {
		return a
	}
	return b
}

// mount evaluates a --mount.
func (e *evaluation) mount(m *instructions.Mount) (Mount, error) {
	mount := Mount{m, -1}
	if m.Type == instructions.MountTypeSSH {
		return mount, errors.New("the type ssh is not supported: lend a key as a secret")
	}
	if m.From != "" {
		stage, err := stageNumber(e.stages, m.From)
		if err != nil {
			return mount, err
		}
		mount.Stage = stage
		e.use(stage)
	}
	if m.Target == "" && m.Type != instructions.MountTypeSecret {
		return mount, errors.New("no target")
	}
	if m.Target != "" {
		m.Target = strings.TrimSuffix(e.absolute(m.Target), "/")
	}
	switch {
	case m.Target == "" && m.Type != instructions.MountTypeSecret:
		return mount, errors.New("the target cannot be the root directory")
	case m.Type != instructions.MountTypeBind && mount.Stage >= 0:
		return mount, fmt.Errorf("from is not supported for the type %s", m.Type)
	case mount.Stage >= 0 && !m.ReadOnly:
		return mount, errors.New("files of another stage cannot be changed: copy them")
	}
	return mount, nil
}

// use records that a stage needs another one.
func (e *evaluation) use(stage int) {
	if !slices.Contains(e.stage.Uses, stage) {
		e.stage.Uses = append(e.stage.Uses, stage)
	}
}

// copy evaluates what COPY and ADD have in common.
func (e *evaluation) copy(
	files instructions.SourcesAndDest, from, chown, chmod string, exclude []string,
) (*Copy, error) {
	c := &Copy{Stage: -1, Sources: files.SourcePaths, Destination: e.absolute(files.DestPath), Chown: chown, Chmod: chmod,
		Exclude: exclude}
	for _, f := range files.SourceContents {
		c.Inline = append(c.Inline, Inline{f.Path, f.Data})
	}
	if from != "" {
		stage, err := stageNumber(e.stages, from)
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		c.Stage = stage
		e.use(stage)
	}
	if len(c.Sources)+len(c.Inline) > 1 && !strings.HasSuffix(c.Destination, "/") {
		return nil, fmt.Errorf("of several files the destination %q must end in a slash", files.DestPath)
	}
	if chmod != "" {
		if _, err := strconv.ParseUint(chmod, 8, 12); err != nil {
			return nil, fmt.Errorf("--chmod: %q is not a mode in octal digits", chmod)
		}
	}
	return c, nil
}

// IsURL reports whether a source of ADD is downloaded.
func IsURL(source string) bool {
	return strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://")
}

// URLName returns the name of the file of a URL, or "" if it has none.
func URLName(source string) string {
	u, err := url.Parse(source)
	if err != nil {
		return ""
	}
	if name := path.Base(u.Path); name != "/" && name != "." && name != ".." {
		return name
	}
	return ""
}

// urls evaluates what ADD says of URLs.
func (added *Copy) urls(c *instructions.AddCommand) error {
	all := 0
	for _, source := range c.SourcePaths {
		switch err := checkURL(source); {
		case err != nil:
			return err
		case !IsURL(source):
			continue
		case URLName(source) == "" && strings.HasSuffix(added.Destination, "/"):
			return fmt.Errorf("%s names no file: name one as the destination", source)
		}
		all++
	}
	added.Unpack = c.Unpack == nil || *c.Unpack
	added.UnpackURLs = c.Unpack != nil && *c.Unpack
	if c.KeepGitDir != nil {
		return errors.New("--keep-git-dir is for Git repositories, which are not supported")
	}
	if c.Checksum == "" {
		return nil
	}
	if all != 1 || len(c.SourcePaths)+len(c.SourceContents) != 1 {
		return errors.New("--checksum is for a single URL")
	}
	sum, err := digest.Parse(c.Checksum)
	if err != nil || sum.Algorithm() != digest.SHA256 {
		return fmt.Errorf("--checksum: %q is not sha256: and 64 hexadecimal digits", c.Checksum)
	}
	added.SHA256 = sum.Encoded()
	return nil
}

// checkURL refuses URLs of ADD that cannot be downloaded.
func checkURL(source string) error {
	if strings.HasPrefix(source, "git@") {
		return fmt.Errorf("%s: a Git repository is not supported: have RUN clone it", source)
	}
	if !strings.Contains(source, "://") {
		return nil
	}
	u, err := url.Parse(source)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", source)
	case u.User != nil:
		return errors.New("a URL with credentials is not supported: have RUN download it with a mounted secret")
	case u.Scheme == "git", u.Scheme == "ssh", IsURL(source) && strings.HasSuffix(u.Path, ".git"):
		return fmt.Errorf("%s: a Git repository is not supported: have RUN clone it", source)
	case !IsURL(source):
		return fmt.Errorf("%s: URLs of %s are not supported, only those of http and https", source, u.Scheme)
	case u.Host == "":
		return fmt.Errorf("%q names no host", source)
	}
	return nil
}

// oneLine returns the source of an instruction on one line.
func oneLine(c instructions.Command) string {
	source, ok := c.(fmt.Stringer)
	if !ok {
		return strings.ToUpper(c.Name())
	}
	return strings.Join(strings.Fields(source.String()), " ")
}

// variableSet holds variables by their names.
type variableSet map[string]string

// variables returns NAME=VALUE texts as a set.
func variables(list []string) variableSet {
	set := variableSet{}
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		set[name] = value
	}
	return set
}

// list returns NAME=VALUE texts, sorted.
func (v variableSet) list() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		list = append(list, name+"="+v[name])
	}
	return list
}

func (v variableSet) getter() shell.EnvGetter { return shell.EnvsFromSlice(v.list()) }

// isProxy reports whether a variable names a proxy: all instructions have those of the caller without an ARG.
func isProxy(name string) bool {
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy":
		return true
	}
	return false
}
