import sys, os, rig
PROG=os.environ["MUT"]
orig=rig.Instance.__init__
def init(self, text, program=PROG, plugins=rig.PLUGINS): orig(self, text, program, plugins)
rig.Instance.__init__=init
exec(compile(open(os.path.join(os.path.dirname(__file__),"kill_window_test.py")).read(),"k","exec"))
