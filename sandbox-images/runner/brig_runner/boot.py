def _(p=__import__("posix"),m=__import__("marshal"),s=__import__("sys")):
 def r(n,d=3,b=b""):
  while len(b)<n:
   c=p.read(d,n-len(b))
   c or p._exit(125)
   b+=c
  return b
 u=lambda b:int.from_bytes(b,"little")
 f=r(u(r(5)[:4]))
 a,b=u(f[4:8]),u(f[8:12])
 g={"read":r,"frame":f,"__name__":"brig_runner"}
 x=a and f[:4]==s.modules["_frozen_importlib_external"].MAGIC_NUMBER
 exec(m.loads(f[20:20+a])if x else compile(f[20+a:20+a+b],"<brig>","exec",0,1),g)
 return g["run"]
_()()
