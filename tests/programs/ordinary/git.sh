# A repository from its first commit to a clone, with dates that do not change.
set -e
export GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.org GIT_COMMITTER_NAME=Ann GIT_COMMITTER_EMAIL=ann@example.org
export GIT_AUTHOR_DATE='2024-01-02T03:04:05Z' GIT_COMMITTER_DATE='2024-01-02T03:04:05Z' GIT_CONFIG_NOSYSTEM=1
git config --global init.defaultBranch main
git init -q one
cd one
mkdir -p src/deep
seq 1 5000 >src/deep/numbers
echo hello >greeting
ln -s greeting link
git add .
git commit -q -m 'first'
git checkout -q -b side
echo there >>greeting
git commit -q -am 'second'
git checkout -q main
echo more >other
git add other
git commit -q -m 'third'
git merge -q side -m 'merged'
git tag -a v1 -m 'a tag'
git log --graph --format='%h %an %s'
git status --short
git diff HEAD~1 --stat
git stash list
git gc -q
git fsck --no-progress --no-dangling
cd ..
git clone -q one two
git clone -q --bare one bare.git
cd two
git log --format=%H | wc -l
git blame -s greeting
git grep -n hello
echo pushed >new
git add new
git commit -q -m 'fourth'
git remote set-url origin ../bare.git
git push -q origin main
git -C ../bare.git rev-parse main
git archive HEAD | tar -t
git worktree add -q ../three v1
ls ../three
git rebase -q HEAD~1
git bisect start -q HEAD HEAD~2 >/dev/null && git bisect run test -e new | tail -1
rm -rf ../one ../three
